package e2e

import (
	"context"
	"errors"
	"testing"
	"time"
)

// A daemon is well while a pull waits for others, a peer that is slow and a registry that stands still:
// the kubelet must not kill it for them, and with it all else that it serves.
func TestHealthyWhileAPullWaits(t *testing.T) {
	lab := NewLab(t)
	image := lab.Registry.Push("app", 12*MiB)
	first, last := lab.AddNode(MirrorOnly), lab.AddNode(MirrorOnly)
	startAll(first, last)
	first.MustPull(image.Tagged)
	first.Shape("12mbit", "")
	lab.Registry.SetFaults(Faults{Hold: 1}) // a byte of a blob, and nothing more

	pull := last.BeginPull(image.Tagged)
	probed := 0
	Eventually(t, 2*patience, "the pull to end", func() error {
		if pull.Ended() {
			return nil
		}
		first.wantHealthy()
		last.wantHealthy()
		probed++
		return errors.New("it waits")
	})
	if err := pull.Wait(); err != nil {
		t.Fatal(err)
	}
	t.Logf("probed %d times", probed)
	if probed < 100 {
		t.Errorf("the pull was over after %d probes: nothing was slow", probed)
	}
	last.Check(image.Tagged, image)
}

// probeTime is how long the DaemonSet's probes wait for an answer.
const probeTime = 6 * time.Second

// wantHealthy asks the node's daemon what the kubelet asks: whether it lives, and is ready.
func (n *Node) wantHealthy() {
	t := n.lab.t
	t.Helper()
	for _, path := range []string{"/healthz", "/readyz"} {
		ctx, cancel := context.WithTimeout(t.Context(), probeTime)
		err := n.Daemon().probe(ctx, path)
		cancel()
		if err != nil {
			t.Fatalf("%s: %v", n.Name, err)
		}
	}
}
