package main

import (
	"errors"
	"fmt"
	"strings"
)

// The aim: among so many hosts first contact takes at most so long, p99, in ms.
const (
	aimHosts = 500
	aimP99   = 100.0
)

// errMissed means that the aim was missed.
var errMissed = errors.New("first contact takes longer than it should")

// verdict holds first contact against the aim, of one host that looks for what another announced
// and of a crowd that comes one after another. A crowd that comes in the same moment to one machine
// measures the machine, and is not judged. The error is errMissed, or nil.
func verdict(reports []report) (string, error) {
	for _, r := range reports {
		if r.Hosts != aimHosts {
			continue
		}
		var late []string
		judge := func(what string, p99 float64, without int) {
			if p99 > aimP99 || without > 0 {
				late = append(late, fmt.Sprintf("%s %.1f ms, %d without", what, p99, without))
			}
		}
		judge("one announced:", r.Before.FirstMS.P99, r.Before.Missed)
		for _, c := range r.Crowds {
			if c.SpacingMS > 0 {
				judge(fmt.Sprintf("%d, each %.0f ms:", c.Size, c.SpacingMS), c.ContactMS.P99, c.Alone)
			}
		}
		if len(late) > 0 {
			return fmt.Sprintf("✗ first contact is to take at most %.0f ms, p99, among %d hosts; %s", aimP99, aimHosts, strings.Join(late, "; ")), errMissed
		}
		return fmt.Sprintf("✓ first contact takes at most %.0f ms, p99, among %d hosts", aimP99, aimHosts), nil
	}
	return fmt.Sprintf("not judged: the aim, first contact in %.0f ms, p99, is for %d hosts", aimP99, aimHosts), nil
}
