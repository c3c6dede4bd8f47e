package scheduler_test

import (
	"fmt"
	"hash/fnv"
	"testing"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/scheduler"
)

// A source turns fuzz bytes into events, likely and absurd ones alike.
type source struct{ data []byte }

func (s *source) byte() byte {
	if len(s.data) == 0 {
		return 0
	}
	b := s.data[0]
	s.data = s.data[1:]
	return b
}

func (s *source) chunk() blob.ChunkIndex { return blob.ChunkIndex(s.byte()%14) - 2 }

func (s *source) blob() blob.Digest { return blob.Digest{1 + s.byte()%2} }

func (s *source) peer() scheduler.PeerID {
	return scheduler.PeerID([]string{"", "A", "B", "C", "me"}[s.byte()%5])
}

func (s *source) fault() scheduler.Fault { return scheduler.Fault(s.byte() % 9) }

// size is that of a blob: one has eight whole chunks, the other one more of one byte.
func size(b blob.Digest) blob.ByteCount { return 8*blob.MinChunk + blob.ByteCount(b[0]-1) }

func (s *source) set() blob.Bitset {
	b := blob.NewBitset([]blob.ChunkIndex{8, 8, 9, 9, 0, 7}[s.byte()%6])
	for mask, i := s.byte(), blob.ChunkIndex(0); mask != 0 && i < b.Len(); mask, i = mask>>1, i+1 {
		if mask&1 != 0 {
			b.Add(i)
		}
	}
	return b
}

func (s *source) event() scheduler.Event {
	b, p, i := s.blob(), s.peer(), s.chunk()
	list := []blob.ChunkIndex{i, i + 1}
	switch s.byte() % 31 {
	case 0, 1:
		return scheduler.DownloadStarted{
			Blob: b, Size: size(b), Image: s.blob(), Upstream: s.byte()%2 == 0, ClientsOnly: s.byte()%4 == 0,
			FromRegistry: s.set(), Verified: s.set(), Quarantined: s.set(),
		}
	case 2:
		return scheduler.UpstreamKnown{Blob: b}
	case 3:
		return scheduler.BlobHeld{Blob: b, Size: size(b)}
	case 4:
		return scheduler.BlobLost{Blob: b}
	case 5:
		return scheduler.ClientAsked{Blob: b}
	case 6:
		return scheduler.ClientLeft{Blob: b}
	case 7:
		return scheduler.MembersCounted{Members: int(i)}
	case 8:
		return scheduler.PeersFound{Blob: b, Peers: []scheduler.PeerID{p, s.peer()}, Done: s.byte()%2 == 0}
	case 9, 10:
		return scheduler.PeerJoined{Blob: b, Peer: p}
	case 11:
		return scheduler.PeerLeft{Blob: b, Peer: p, Why: s.fault()}
	case 12, 13:
		return scheduler.PeerHas{Blob: b, Peer: p, Chunks: s.set()}
	case 14:
		return scheduler.PeersTold{Blob: b, Peer: p, Peers: []scheduler.PeerID{s.peer(), s.peer()}}
	case 15:
		return scheduler.PeerAsked{Blob: b, Peer: p, Chunk: i}
	case 16:
		return scheduler.PeerCancelled{Blob: b, Peer: p, Chunk: i}
	case 17:
		return scheduler.UploadEnded{Blob: b, Peer: p, Chunk: i}
	case 18:
		return scheduler.PeerRefused{Blob: b, Peer: p, Chunk: i}
	case 19:
		return scheduler.ChunkArrived{Blob: b, Peer: p, Chunk: i}
	case 20:
		return scheduler.ReadProgressed{Blob: b, Read: scheduler.ReadID(s.byte() % 8), Chunk: i}
	case 21:
		return scheduler.ReadEnded{Blob: b, Read: scheduler.ReadID(s.byte() % 8), Why: s.fault()}
	case 22:
		return scheduler.ChainArrived{Blob: b, Peer: p}
	case 23:
		return scheduler.LinkChecked{Blob: b, Chunk: i, Supplier: p, Holds: s.byte()%2 == 0, Verified: list}
	case 24:
		return scheduler.PrefixHashed{Blob: b, Next: i, Mismatch: s.byte()%2 == 0}
	case 25:
		return scheduler.ChunkAudited{Blob: b, Chunk: i, Same: s.byte()%2 == 0, Why: s.fault() * scheduler.Fault(s.byte()%2)}
	case 26:
		return scheduler.ChunkLost{Blob: b, Chunk: i}
	case 27:
		return scheduler.PeerReads{Blob: b, Peer: p, Spans: []scheduler.Span{{First: i, Count: s.chunk()}, {First: s.chunk(), Count: 2}}}
	case 28:
		return scheduler.UpstreamWhole{Blob: b}
	case 29:
		return scheduler.HeadRead{Blob: b, Why: s.fault() * scheduler.Fault(s.byte()%2)}
	default:
		return []scheduler.Event{scheduler.BlobProven{Blob: b}, scheduler.PeerMisbehaved{Blob: b, Peer: p}}[s.byte()%2]
	}
}

// play feeds a Machine what the bytes say, and returns a hash of everything it did.
func play(t *testing.T, data []byte) uint64 {
	t.Helper()
	s := &source{data: data}
	m := scheduler.New(scheduler.Config{Self: "me", Seed: 1})
	var now scheduler.Time
	did := fnv.New64a()
	for len(s.data) > 0 {
		now += scheduler.Time(s.byte()) * scheduler.Time(s.byte()) * 1e5
		_, _ = fmt.Fprintf(did, "%+v\n", m.Step(now, s.event())) // a hash never fails to write
		for n := 0; ; n++ {
			at, ok := m.Deadline()
			if !ok || at > now {
				break
			}
			if n > 8 {
				t.Fatalf("still wants a tick at %v after %d ticks at %v", at, n, now)
			}
			_, _ = fmt.Fprintf(did, "%+v\n", m.Step(now, scheduler.Ticked{}))
		}
		for _, v := range m.Blobs() {
			if v.Asks > 32 || v.Reads > 6 || v.Uploads > 32+8 || v.R+v.V+v.Q > v.Chunks || v.Percent < 0 || v.Percent > 100 {
				t.Fatalf("out of bounds: %+v", v)
			}
		}
		if err := m.CheckShortcuts(); err != nil {
			t.Fatal(err)
		}
	}
	return did.Sum64()
}

// FuzzStep: no sequence of events, however absurd, makes a Machine panic, spin, overlook a
// peer or decide differently the second time.
func FuzzStep(f *testing.F) {
	for seed := range 40 {
		data := make([]byte, 3000)
		x := uint64(seed) + 1
		for i := range data {
			x ^= x << 13
			x ^= x >> 7
			x ^= x << 17
			data[i] = byte(x >> 32)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 10000 {
			return
		}
		if first, second := play(t, data), play(t, data); first != second {
			t.Fatal("two runs differ")
		}
	})
}
