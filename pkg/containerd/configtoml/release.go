package configtoml

import (
	"fmt"
	"strconv"
	"strings"
)

// A Release tells apart the containerds that read the same files differently. The zero
// value is 2.1 and later.
type Release uint8

// The values of Release.
const (
	// Newest are 2.1 and later: images are pulled by the transfer service.
	Newest Release = iota
	// TwoZero is 2.0: the older path pulls.
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
	case numbers[0] >= 2 && len(numbers) > 1:
		return Newest, nil
	default:
		return Newest, fmt.Errorf("%.40q is not a version of containerd, like 1.7.27", version)
	}
}

// formatMax is the newest version of the format that a release accepts.
func (r Release) formatMax() int {
	switch r {
	case One:
		return 2
	case TwoZero:
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
	case Newest:
		return "2.1 or later"
	default:
		return strconv.Itoa(int(r))
	}
}
