package sim_test

import (
	"testing"

	"github.com/shoal-project/shoal/scheduler/sim"
)

// The liars of the mix are all of different kinds, whatever the seed: a stride that divides the number
// of kinds once left three of them.
func TestMixHasManyKinds(t *testing.T) {
	const nodes, liars = 100, 10
	for seed := range uint64(8) {
		type kind struct {
			lies  sim.Lie
			every int
		}
		kinds := map[kind]bool{}
		for _, n := range find(t, "liars-mix").Config(nodes, seed).Nodes {
			if n.Lies != 0 {
				kinds[kind{n.Lies, n.Every}] = true
			}
		}
		if len(kinds) != liars {
			t.Errorf("seed %d: %d kinds of liars, want %d", seed, len(kinds), liars)
		}
	}
}
