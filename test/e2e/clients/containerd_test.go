package clients

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/shoal-project/shoal/test/e2e"
)

// The releases of containerd that are still in use pull through Shoal, and what they had pulled
// without it is offered to others. 2.4 is what all other tests run.
func TestContainerdReleases(t *testing.T) {
	for _, release := range []string{"containerd-v1.7.35", "containerd-v2.0.14"} {
		t.Run(release, func(t *testing.T) {
			site := newSite(t)
			site.Tools.Containerd = tool(t, release)
			site.OldContainerd = strings.Contains(release, "v1.")
			lab := site.NewLab(t)
			image := lab.Registry.Push("team/app", 12*e2e.MiB, e2e.MiB)
			before, through, other := lab.AddNode(e2e.NoMirror), lab.AddNode(e2e.MirrorOnly), lab.AddNode(e2e.WithFallback)
			before.StartShoal(before.BesideContainerd("0")...)
			before.MustPull(image.Tagged) // by itself, under the eyes of the daemon
			e2e.Eventually(t, time.Minute, "what it pulled to be offered", func() error {
				s, err := before.Daemon().Status()
				if err == nil && (s.Containerd.Blobs != 3+len(image.Layers) || s.Containerd.Waiting > 0) {
					err = fmt.Errorf("%+v", s.Containerd)
				}
				return err
			})
			through.StartShoal()
			other.StartShoal()
			e2e.AwaitMembers(before, through, other)
			for _, n := range []*e2e.Node{through, other} {
				n.MustPull(image.Tagged)
				n.Check(image.Tagged, image)
				wantLittle(t, lab, image, n)
			}
			before.RemoveImage(image.Tagged)
			e2e.Eventually(t, 2*time.Minute, "what it removed to be withdrawn", func() error {
				s, err := before.Daemon().Status()
				if err == nil && s.Containerd.Blobs > 0 {
					err = fmt.Errorf("%+v", s.Containerd)
				}
				return err
			})
		})
	}
}
