package main

import (
	"errors"
	"strings"
	"testing"
)

// TestVerdict: the aim is for 500 hosts, and a crowd in the same moment is not held to it.
func TestVerdict(t *testing.T) {
	of := func(hosts int, one, spread float64, alone int) report {
		return report{
			Hosts: hosts, Before: before{FirstMS: spread99(one)},
			Crowds: []crowd{{Size: 2, ContactMS: spread99(900)}, {Size: hosts, SpacingMS: 20, ContactMS: spread99(spread), Alone: alone}},
		}
	}
	for _, c := range []struct {
		name  string
		of    report
		want  error
		mark  string
		tells string
	}{
		{"met", of(500, 99, 100, 0), nil, "✓", ""},
		{"one is late", of(500, 101, 99, 0), errMissed, "✗", "one announced: 101.0 ms"},
		{"the crowd is late", of(500, 9, 100.5, 0), errMissed, "✗", "500, each 20 ms: 100.5 ms"},
		{"one is alone", of(500, 9, 9, 1), errMissed, "✗", "1 without"},
		{"fewer hosts", of(200, 900, 900, 9), nil, "not judged", "500 hosts"},
	} {
		t.Run(c.name, func(t *testing.T) {
			text, err := verdict([]report{of(50, 999, 999, 0), c.of})
			if !errors.Is(err, c.want) || !strings.HasPrefix(text, c.mark) || !strings.Contains(text, c.tells) {
				t.Errorf("%v: %s", err, text)
			}
		})
	}
}

func spread99(p99 float64) spread { return spread{P99: p99} }
