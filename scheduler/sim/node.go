package sim

import (
	"fmt"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/scheduler"
)

// A node is one Machine with its store and sessions.
type node struct {
	w     *world
	id    scheduler.PeerID
	spec  Node
	m     *scheduler.Machine
	dead  bool
	disks []*disk
	tick  scheduler.Time // the earliest Ticked that is queued; 0: none

	sessions     map[peerBlob]*session
	uplinkFree   scheduler.Time
	downlinkFree scheduler.Time
	uploads      map[sent]bool
	served       int
}

type peerBlob struct {
	peer scheduler.PeerID
	blob blob.Digest
}

type sent struct {
	peer  scheduler.PeerID
	blob  blob.Digest
	chunk blob.ChunkIndex
}

// A session is one side's end; has is what the other side told.
type session struct {
	open bool
	has  blob.Bitset
	far  *session
}

func (w *world) addNode(i int, spec Node) {
	n := &node{
		w: w, spec: spec, id: scheduler.PeerID(fmt.Sprintf("n%02d", i)),
		sessions: map[peerBlob]*session{}, uploads: map[sent]bool{},
	}
	cfg := w.cfg.Scheduler
	cfg.Self, cfg.Seed, cfg.Zone = n.id, w.cfg.Seed, spec.Zone
	n.m = scheduler.New(cfg)
	for k, size := range w.cfg.Blobs {
		n.disks = append(n.disks, newDisk(digest(k), size))
	}
	w.nodes = append(w.nodes, n)
	w.byID[n.id] = n
	w.after(spec.Start, n.begin)
	if spec.Crash > 0 {
		w.after(spec.Crash, n.crash)
	}
}

// begin has the node want every blob, or hold them.
func (n *node) begin() {
	if n.dead {
		return
	}
	if !n.w.cfg.NoDHT {
		n.step(scheduler.MembersCounted{Members: len(n.w.nodes) - 1})
	}
	for _, d := range n.disks {
		if n.spec.Held {
			d.fill()
			n.step(scheduler.BlobHeld{Blob: d.blob, Size: d.geometry.Size()})
			continue
		}
		d.wanted = true
		n.step(scheduler.DownloadStarted{
			Blob: d.blob, Size: d.geometry.Size(), Image: Image(), Upstream: n.spec.Registry != RegistryUnknown,
		})
		n.step(scheduler.ClientAsked{Blob: d.blob})
	}
}

// crash ends the node without a word; its peers learn when their connections break.
func (n *node) crash() {
	n.dead = true
	for key, s := range n.sessions {
		s.open = false
		far, theirs := n.w.byID[key.peer], s.far
		n.w.after(n.w.cfg.Latency, func() { far.left(n.id, key.blob, theirs, scheduler.FaultTransient) })
	}
}

func (n *node) disk(d blob.Digest) *disk {
	for _, x := range n.disks {
		if x.blob == d {
			return x
		}
	}
	panic("sim: unknown blob")
}

// live is the disk of a download that is under way, or nil.
func (n *node) live(d blob.Digest) *disk {
	if x := n.disk(d); !x.ended {
		return x
	}
	return nil
}

// step gives the Machine an event and carries out what comes back.
func (n *node) step(ev scheduler.Event) {
	if n.dead || n.w.err != nil {
		return
	}
	for _, a := range n.m.Step(n.w.now, ev) {
		n.w.traced(n, a)
		n.perform(a)
	}
	n.checkLimits()
	at, ok := n.m.Deadline()
	if !ok {
		return
	}
	if _, tick := ev.(scheduler.Ticked); tick && at <= n.w.now {
		n.w.fail(n, "deadline %v is not in the future", at)
	}
	if n.tick == 0 || at < n.tick {
		n.tick = at
		n.w.after(max(0, at-n.w.now), func() { n.ticked(at) })
	}
}

func (n *node) ticked(at scheduler.Time) {
	if n.tick == at {
		n.tick = 0
	}
	if due, ok := n.m.Deadline(); ok && due <= n.w.now {
		n.step(scheduler.Ticked{})
	} else if ok && n.tick == 0 {
		n.tick = due
		n.w.after(due-n.w.now, func() { n.ticked(due) })
	}
}

// later reports an event in a while.
func (n *node) later(d scheduler.Time, ev scheduler.Event) { n.w.after(d, func() { n.step(ev) }) }

// perform carries out one action.
func (n *node) perform(a scheduler.Action) {
	switch a := a.(type) {
	case scheduler.FindPeers:
		n.findPeers(a)
	case scheduler.Announce:
		n.w.records[a.Key] = append(n.w.records[a.Key], record{n, n.w.now + n.w.cfg.DHT})
	case scheduler.Connect:
		n.connect(a)
	case scheduler.Disconnect:
		n.disconnect(a.Peer, a.Blob)
	case scheduler.AskPeer:
		n.ask(a)
	case scheduler.CancelAsk:
		n.cancelAsk(a)
	case scheduler.Serve:
		n.serve(a)
	case scheduler.RefuseBusy:
		n.send(a.Peer, a.Blob, scheduler.PeerRefused{Blob: a.Blob, Peer: n.id, Chunk: a.Chunk})
	case scheduler.TellHave:
		n.tellHave(a)
	case scheduler.TellPeers:
		n.send(a.Peer, a.Blob, scheduler.PeersTold{Blob: a.Blob, Peer: n.id, Peers: a.Peers})
	case scheduler.SendChain:
		n.sendChain(a)
	case scheduler.ReadUpstream:
		n.readUpstream(a)
	case scheduler.CancelRead:
		n.cancelRead(a)
	case scheduler.CheckLink:
		n.checkLink(a)
	case scheduler.HashPrefix:
		n.hashPrefix(a)
	case scheduler.AuditChunk:
		n.audit(a)
	case scheduler.DropChunk:
		n.disk(a.Blob).drop(a.Chunk)
	case scheduler.DropChain:
		delete(n.disk(a.Blob).chains, a.Supplier)
		n.disk(a.Blob).dropLinks()
	case scheduler.Release:
		n.release(a)
	case scheduler.Abandon:
		d := n.disk(a.Blob)
		d.ended, d.why, d.at = true, a.Why, n.w.now
	case scheduler.Quarantine:
		n.quarantine(a)
	}
}
