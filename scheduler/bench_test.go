package scheduler_test

import (
	"fmt"
	"testing"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/scheduler"
)

// BenchmarkStep gives a download of a large layer one chunk after another from a full
// neighbourhood: the figure is the price of one event with its planning.
func BenchmarkStep(b *testing.B) {
	for _, size := range []blob.ByteCount{100 * blob.MiB, blob.GiB, 10 * blob.GiB} {
		b.Run(fmt.Sprintf("%dMiB", size/blob.MiB), func(b *testing.B) {
			g, err := blob.NewGeometry(size)
			if err != nil {
				b.Fatal(err)
			}
			d := blob.Digest{1}
			var m *scheduler.Machine
			var now scheduler.Time
			var open []scheduler.Action
			begin := func() {
				m = scheduler.New(scheduler.Config{Self: "me"})
				m.Step(now, scheduler.MembersCounted{Members: 100})
				m.Step(now, scheduler.DownloadStarted{Blob: d, Size: size, Upstream: true})
				open = make([]scheduler.Action, 0, 64)
				for i := range 32 {
					p := scheduler.PeerID(fmt.Sprintf("p%02d", i))
					m.Step(now, scheduler.PeerJoined{Blob: d, Peer: p})
					has := blob.NewBitset(g.Chunks())
					for c := range g.Chunks() {
						if (int(c)+i)%4 != 0 {
							has.Add(c)
						}
					}
					open = append(open, m.Step(now, scheduler.PeerHas{Blob: d, Peer: p, Chunks: has})...)
				}
			}
			begin()
			b.ReportAllocs()
			for b.Loop() {
				ask, ok := next(&open)
				if !ok {
					begin()
					continue
				}
				now += 1000
				open = append(open, m.Step(now, scheduler.ChunkArrived{Blob: d, Peer: ask.Peer, Chunk: ask.Chunk})...)
			}
		})
	}
}

// next takes the oldest ask from a list of actions.
func next(open *[]scheduler.Action) (scheduler.AskPeer, bool) {
	for len(*open) > 0 {
		a := (*open)[0]
		*open = (*open)[1:]
		if ask, ok := a.(scheduler.AskPeer); ok {
			return ask, true
		}
	}
	return scheduler.AskPeer{}, false
}
