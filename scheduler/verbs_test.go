package scheduler_test

import (
	"strings"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/scheduler"
)

// events are what a line of a script reports.
func (l line) events() []scheduler.Event {
	d := l.digest("blob", "x")
	one := func(ev scheduler.Event) []scheduler.Event { return []scheduler.Event{ev} }
	switch l.d.Cmd {
	case "start":
		n := l.geometry().Chunks()
		l.s.chunks[d] = n
		return one(scheduler.DownloadStarted{
			Blob: d, Size: l.size(), Image: l.digest("image", ""), Upstream: !l.flag("no-upstream"), ClientsOnly: l.flag("clients-only"),
			FromRegistry: l.set(l.arg("r", ""), n), Verified: l.set(l.arg("v", ""), n), Quarantined: l.set(l.arg("q", ""), n),
		})
	case "held":
		l.s.chunks[d] = l.geometry().Chunks()
		return one(scheduler.BlobHeld{Blob: d, Size: l.size()})
	case "lost":
		return one(scheduler.BlobLost{Blob: d})
	case "upstream":
		return one(scheduler.UpstreamKnown{Blob: d})
	case "whole":
		return one(scheduler.UpstreamWhole{Blob: d})
	case "head-read":
		return one(scheduler.HeadRead{Blob: d, Why: l.fault()})
	case "client":
		return one(scheduler.ClientAsked{Blob: d})
	case "client-left":
		return one(scheduler.ClientLeft{Blob: d})
	case "proven":
		return one(scheduler.BlobProven{Blob: d})
	case "members":
		return one(scheduler.MembersCounted{Members: int(l.index(l.word(0)))})
	case "found":
		peers := l.peers(l.arg("peers", ""))
		return one(scheduler.PeersFound{Blob: d, Peers: peers, Done: l.flag("done")})
	case "joined":
		return one(scheduler.PeerJoined{Blob: d, Peer: l.peer(), Zone: l.arg("zone", "")})
	case "left":
		return one(scheduler.PeerLeft{Blob: d, Peer: l.peer(), Why: l.fault()})
	case "told":
		return one(scheduler.PeersTold{Blob: d, Peer: l.peer(), Peers: l.peers(l.arg("peers", ""))})
	case "misbehaved":
		return one(scheduler.PeerMisbehaved{Blob: d, Peer: l.peer(), What: "broke the protocol"})
	case "has":
		return one(scheduler.PeerHas{Blob: d, Peer: l.peer(), Chunks: l.set(l.word(1), l.chunkCount(d))})
	case "reads":
		return one(scheduler.PeerReads{Blob: d, Peer: l.peer(), Spans: l.spans(l.word(1))})
	case "chain":
		return one(scheduler.ChainArrived{Blob: d, Peer: l.peer()})
	case "read", "read-ended":
		return l.readEvents(d)
	case "link", "hashed", "audited", "chunk-lost":
		return one(l.proofEvent(d))
	}
	return l.perChunk(d)
}

// spans reads what a peer says it reads: 0-15,32-47 or nothing.
func (l line) spans(s string) (spans []scheduler.Span) {
	for part := range strings.SplitSeq(s, ",") {
		if from, to, ok := strings.Cut(part, "-"); ok {
			spans = append(spans, scheduler.Span{First: l.index(from), Count: l.index(to) - l.index(from) + 1})
		}
	}
	return spans
}

func (l line) peer() scheduler.PeerID { return scheduler.PeerID(l.word(0)) }

func (l line) chunkCount(d blob.Digest) blob.ChunkIndex {
	return blob.ChunkIndex(l.number("of", int(l.s.chunks[d])))
}

// perChunk are the events of one peer about several chunks.
func (l line) perChunk(d blob.Digest) (evs []scheduler.Event) {
	for i := range l.set(l.word(1), 1000).All() {
		p := l.peer()
		switch l.d.Cmd {
		case "asked":
			evs = append(evs, scheduler.PeerAsked{Blob: d, Peer: p, Chunk: i})
		case "cancelled":
			evs = append(evs, scheduler.PeerCancelled{Blob: d, Peer: p, Chunk: i})
		case "sent":
			evs = append(evs, scheduler.UploadEnded{Blob: d, Peer: p, Chunk: i})
		case "refused":
			evs = append(evs, scheduler.PeerRefused{Blob: d, Peer: p, Chunk: i})
		case "arrived":
			evs = append(evs, scheduler.ChunkArrived{Blob: d, Peer: p, Chunk: i})
		default:
			l.d.Fatalf(l.t, "no such verb")
		}
	}
	return evs
}

func (l line) readEvents(d blob.Digest) (evs []scheduler.Event) {
	id := scheduler.ReadID(l.index(l.word(0)))
	if l.d.Cmd == "read-ended" {
		return []scheduler.Event{scheduler.ReadEnded{Blob: d, Read: id, Why: l.fault()}}
	}
	for i := range l.set(l.word(1), l.s.chunks[d]).All() {
		evs = append(evs, scheduler.ReadProgressed{Blob: d, Read: id, Chunk: i})
	}
	return evs
}

func (l line) proofEvent(d blob.Digest) scheduler.Event {
	n := l.s.chunks[d]
	switch l.d.Cmd {
	case "link":
		return scheduler.LinkChecked{
			Blob: d, Supplier: l.peer(), Chunk: l.index(l.word(1)), Holds: !l.flag("broken"), Verified: l.list("verified", n),
		}
	case "hashed":
		return scheduler.PrefixHashed{Blob: d, Next: l.index(l.word(0)), Verified: l.list("verified", n), Mismatch: l.flag("mismatch")}
	case "audited":
		return scheduler.ChunkAudited{Blob: d, Chunk: l.index(l.word(0)), Same: l.flag("same"), Why: l.fault()}
	default:
		return scheduler.ChunkLost{Blob: d, Chunk: l.index(l.word(0))}
	}
}
