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
	// TwoOne are 2.1 and 2.2: they pull as Newest, and read as TwoZero.
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
	case numbers[0] == 2 && len(numbers) > 1 && numbers[1] == 0:
		return TwoZero, nil
	case numbers[0] == 2 && len(numbers) > 1 && numbers[1] < 3:
		return TwoOne, nil
	case numbers[0] >= 2 && len(numbers) > 1:
		return Newest, nil
	default:
		return Newest, fmt.Errorf("%.40q is not a version of containerd, like 1.7.27", version)
	}
}

// mergesFirst reports whether all files are merged, and what comes of them migrated, by the
// version of the last one. Later releases migrate each file by itself, 1.x none.
func (r Release) mergesFirst() bool { return r == TwoOne || r == TwoZero }

// transfers reports whether the transfer service pulls images, where nothing speaks against it.
func (r Release) transfers() bool { return r == Newest || r == TwoOne }

// formatMax is the newest version of the format that a release accepts.
func (r Release) formatMax() int {
	switch r {
	case One:
		return 2
	case TwoOne, TwoZero:
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
		return "2.1 or 2.2"
	case Newest:
		return "2.3 or later"
	default:
		return strconv.Itoa(int(r))
	}
}
