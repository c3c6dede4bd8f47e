package sim

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/scheduler"
)

// A trace is a hash over every action of a run and its time: two runs with the same trace
// did the same.
type trace uint64

func (t *trace) add(words ...uint64) {
	for _, x := range words {
		*t = trace(mix(uint64(*t), x))
	}
}

func (t *trace) peers(w *world, peers []scheduler.PeerID) {
	for _, p := range peers {
		t.add(w.numberOf(p))
	}
}

func (t *trace) chunks(set blob.Bitset) {
	for i := range set.All() {
		t.add(uint64(i))
	}
}

// numberOf is a node's number, for the trace; strangers have none.
func (w *world) numberOf(p scheduler.PeerID) uint64 {
	if n := w.byID[p]; n != nil {
		return uint64(n.number) + 1
	}
	return 0
}

// traced notes an action.
func (w *world) traced(n *node, action scheduler.Action) {
	w.trace.add(uint64(w.now), uint64(n.number))
	w.traceAction(action)
	if w.cfg.Trace != nil {
		w.cfg.Trace(fmt.Sprintf("%v %s   %s", seconds(w.now), n.id, describe(action)))
	}
}

// traceAbout adds what most actions have. Blobs are told apart by their first bytes.
func (w *world) traceAbout(kind uint64, d blob.Digest, p scheduler.PeerID, more ...uint64) {
	w.trace.add(kind, uint64(d[0])|uint64(d[1])<<8|uint64(d[2])<<16, w.numberOf(p))
	w.trace.add(more...)
}

// traceAction adds what sets an action apart from others.
func (w *world) traceAction(action scheduler.Action) {
	t, about := &w.trace, w.traceAbout
	switch a := action.(type) {
	case scheduler.FindPeers:
		about(1, a.Blob, "")
	case scheduler.Announce:
		about(2, a.Key, "")
	case scheduler.Connect:
		about(3, a.Blob, a.Peer)
	case scheduler.Disconnect:
		about(4, a.Blob, a.Peer)
	case scheduler.AskPeer:
		about(5, a.Blob, a.Peer, uint64(a.Chunk))
	case scheduler.CancelAsk:
		about(6, a.Blob, a.Peer, uint64(a.Chunk))
	case scheduler.Serve:
		about(7, a.Blob, a.Peer, uint64(a.Chunk))
	case scheduler.RefuseBusy:
		about(8, a.Blob, a.Peer, uint64(a.Chunk))
	case scheduler.TellHave:
		about(9, a.Blob, "")
		t.peers(w, a.Peers)
		t.chunks(a.Chunks)
	case scheduler.TellReading:
		about(10, a.Blob, "")
		t.peers(w, a.Peers)
		for _, s := range a.Spans {
			t.add(uint64(s.First), uint64(s.Count))
		}
	case scheduler.TellPeers:
		about(11, a.Blob, a.Peer)
		t.peers(w, a.Peers)
	case scheduler.SendChain:
		about(12, a.Blob, "")
		t.peers(w, a.Peers)
	default:
		w.traceLocal(action)
	}
}

// traceLocal is traceAction for what happens between the node, its disk and the registry.
func (w *world) traceLocal(action scheduler.Action) {
	about := w.traceAbout
	switch a := action.(type) { //nolint:gochecksumtype // traceAction has the others
	case scheduler.ReadUpstream:
		about(13, a.Blob, "", uint64(a.Read), uint64(a.First), uint64(a.Count))
	case scheduler.CancelRead:
		about(14, a.Blob, "", uint64(a.Read))
	case scheduler.CheckLink:
		about(15, a.Blob, a.Supplier, uint64(a.Chunk))
	case scheduler.HashPrefix:
		about(16, a.Blob, "", uint64(a.First), uint64(a.Through))
	case scheduler.AuditChunk:
		about(17, a.Blob, "", uint64(a.Chunk))
	case scheduler.ReadHead:
		about(23, a.Blob, "", uint64(a.Length))
	case scheduler.DropChunk:
		about(18, a.Blob, "", uint64(a.Chunk))
	case scheduler.DropChain:
		about(19, a.Blob, a.Supplier)
	case scheduler.Release:
		about(20, a.Blob, "")
	case scheduler.Abandon:
		about(21, a.Blob, "", uint64(a.Why))
	case scheduler.Quarantine:
		about(22, a.Blob, a.Peer, uint64(a.For))
	default:
		panic("sim: an action that leaves no trace")
	}
}

// describe is an event or an action as people read it, blobs by their first digits.
func describe(what any) string {
	name := strings.TrimPrefix(fmt.Sprintf("%T", what), "scheduler.")
	fields := reflect.ValueOf(what)
	var text strings.Builder
	text.WriteString(name)
	for i := range fields.NumField() {
		switch x := fields.Field(i).Interface().(type) {
		case blob.Digest:
			text.WriteString(" " + x.Short())
		case blob.Bitset:
			fmt.Fprintf(&text, " %s=%s", fields.Type().Field(i).Name, ranges(x))
		default:
			fmt.Fprintf(&text, " %s=%v", fields.Type().Field(i).Name, x)
		}
	}
	return text.String()
}

// ranges shows a set as rows of adjacent chunks.
func ranges(set blob.Bitset) string {
	var rows []string
	first, last := blob.ChunkIndex(-1), blob.ChunkIndex(-2)
	show := func() {
		if first == last {
			rows = append(rows, fmt.Sprint(first))
		} else if first >= 0 {
			rows = append(rows, fmt.Sprintf("%d-%d", first, last))
		}
	}
	for i := range set.All() {
		if i != last+1 {
			show()
			first = i
		}
		last = i
	}
	show()
	return "{" + strings.Join(rows, " ") + "}"
}
