package main

import (
	"testing"
	"time"

	"github.com/shoal-project/shoal/test/e2e"
)

// arriving is a sample in which the registry and two nodes have received so much.
func arriving(seconds int, registry, first, second int64) sample {
	return sample{
		at:      time.Duration(seconds) * time.Second,
		traffic: []e2e.Traffic{{Received: registry}, {Received: first}, {Received: second}},
	}
}

func TestArrived(t *testing.T) {
	first, second := &e2e.Node{Number: 1}, &e2e.Node{Number: 2}
	samples := []sample{
		arriving(1, 0, 500, 100), arriving(2, 0, 990, 500), arriving(3, 0, 999, 1960), arriving(4, 0, 1000, 1981),
		arriving(5, 9, 1000, 2000), // the registry received last, and does not count
	}
	for _, c := range []struct {
		nodes []*e2e.Node
		want  time.Duration
	}{
		{nil, 0},
		{[]*e2e.Node{first}, 2 * time.Second},
		{[]*e2e.Node{second}, 4 * time.Second},
		{[]*e2e.Node{second, first}, 4 * time.Second},
	} {
		if got := arrived(samples, c.nodes); got != c.want {
			t.Errorf("with %d nodes everything had come after %v, want %v", len(c.nodes), got, c.want)
		}
	}
	if got := arrived(nil, []*e2e.Node{first}); got != 0 {
		t.Errorf("without samples everything had come after %v", got)
	}
}

// Bytes beyond the image are the protocols' and no progress.
func TestShare(t *testing.T) {
	nodes := []*e2e.Node{{Number: 1}, {Number: 2}}
	if got := arriving(1, 7, 1200, 500).share(nodes, 1000); got != 0.75 {
		t.Errorf("the share is %v, want 0.75", got)
	}
}
