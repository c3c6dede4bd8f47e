package configtoml

import (
	"fmt"
	"strconv"
	"strings"
)

// A Release tells apart the containerds that read the same files differently. The zero
// value is 2.3 and later.
type Release uint8

// The values of Release.
const (
	// Newest are 2.3 and later: images are pulled by the transfer service.
	Newest Release = iota
	// TwoTwo is 2.2: it pulls as Newest, and reads as TwoZero.
	TwoTwo
	// TwoOne is 2.1: as TwoTwo, but an empty config_path stays empty.
	TwoOne
	// TwoZero is 2.0: the older path pulls, and all files are taken for ones of the same version.
	TwoZero
	// One is 1.x: the older path, older names, and an imported file that replaces whole
	// sections.
	One
)

// ParseRelease reads a version such as 1.7.27 or v2.1.
func ParseRelease(version string) (Release, error) {
	parts := strings.Split(strings.TrimPrefix(version, "v"), ".")
	numbers := make([]uint64, min(len(parts), 2))
	for i := range numbers {
		n, err := strconv.ParseUint(parts[i], 10, 16)
		if err != nil {
			return Newest, fmt.Errorf("%.40q is not a version of containerd, like 1.7.27", version)
		}
		numbers[i] = n
	}
	switch {
	case numbers[0] == 1:
		return One, nil
	case numbers[0] == 0 || len(numbers) < 2:
		return Newest, fmt.Errorf("%.40q is not a version of containerd, like 1.7.27", version)
	case numbers[0] > 2 || numbers[1] > 2:
		return Newest, nil
	default:
		return [...]Release{TwoZero, TwoOne, TwoTwo}[numbers[1]], nil
	}
}

// mergesFirst reports whether all files are merged, and what comes of them migrated, by the
// version of the last one. Later releases migrate each file by itself, 1.x none.
func (r Release) mergesFirst() bool { return r == TwoTwo || r == TwoOne || r == TwoZero }

// transfers reports whether the transfer service pulls images, where nothing speaks against it.
func (r Release) transfers() bool { return r == Newest || r == TwoTwo || r == TwoOne }

// emptyPath is what a release takes in place of an empty config_path. It is a list, which only
// the older path reads.
func (r Release) emptyPath() string {
	if r == Newest || r == TwoTwo {
		return "/etc/containerd/certs.d:/etc/docker/certs.d"
	}
	return ""
}

// formatMax is the newest version of the format that a release accepts.
func (r Release) formatMax() int {
	switch r {
	case One:
		return 2
	case TwoTwo, TwoOne, TwoZero:
		return 3
	case Newest:
		return 4
	default:
		return 0
	}
}

func (r Release) String() string {
	switch r {
	case One:
		return "1.x"
	case TwoZero:
		return "2.0"
	case TwoOne:
		return "2.1"
	case TwoTwo:
		return "2.2"
	case Newest:
		return "2.3 or later"
	default:
		return strconv.Itoa(int(r))
	}
}
