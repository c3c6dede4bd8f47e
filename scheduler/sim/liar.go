package sim

import (
	"fmt"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/scheduler"
)

const (
	dripRate   = 1024             // bytes a second
	floodEvery = 10 * millisecond // a hundred messages a second
	beatEvery  = second
	ghosts     = 16 // named in one message
	servedOf   = 20 // asks, by who has nearly all
	floodAsks  = 16 // of one peer a second: more than are let wait
)

// chainLies are those about the chain.
const chainLies = FalseState | FalseLink | FalseChain

// beginToLie sets up what a liar needs.
func (n *node) beginToLie() {
	if n.spec.Lies.has(Drip) {
		n.throttle = &link{rate: dripRate}
	}
	if n.spec.Lies.has(Stall) {
		n.throttle = &link{}
	}
	if n.spec.Lies.has(AskFlood) {
		n.down.rate = 0
	}
	if n.spec.Lies.has(HaveFlood | PeersFlood) {
		n.w.after(floodEvery, flood{n, n.life})
	}
	if n.spec.Lies.has(FalseClaims | GroundGhosts | AskFlood) {
		n.w.after(beatEvery, beat{n, n.life})
	}
}

// lieToNewcomer is what a liar says first in a session.
func (n *node) lieToNewcomer(s *session) {
	lies, d := n.spec.Lies, s.disk
	if lies == 0 {
		return
	}
	if lies.has(FalseHave) {
		s.send(scheduler.PeerHas{Blob: d.digest(), Peer: n.id, Chunks: blob.FullBitset(d.n)})
	}
	if lies.has(NearlyHave) {
		nearly := blob.FullBitset(d.n)
		nearly.Remove(blob.ChunkIndex(n.number) % max(1, d.n))
		s.send(scheduler.PeerHas{Blob: d.digest(), Peer: n.id, Chunks: nearly})
	}
	if lies.has(FalseClaims) {
		s.claim(d.falseClaims(n.beats))
	}
	if lies.has(chainLies) {
		s.sendChain(d.forge(lies))
	}
	if lies.has(Ghosts) {
		s.send(scheduler.PeersTold{Blob: d.digest(), Peer: n.id, Peers: n.inventPeers()})
	}
	if lies.has(GroundGhosts) {
		s.send(scheduler.PeersTold{Blob: d.digest(), Peer: n.id, Peers: d.groundNames()})
	}
}

// forge is the liars' chain of a layer; all of a run have the same.
func (d *disk) forge(lies Lie) *chain {
	if d.layer.forged != nil {
		return d.layer.forged
	}
	values := make([]value, d.n+1)
	switch {
	case d.n < 2: // nothing to be wrong about
	case lies.has(FalseChain):
		// From a wrong first chunk on every value follows from the one before, up to the last
		// link, which would have to lead back to the digest.
		for i := range d.n - 1 {
			values[i+1] = after(i, values[i], forged(i))
		}
	case lies.has(FalseLink):
		values[1] = 1
	default:
		values[1+d.node.w.random.IntN(int(d.n-1))] = 1
	}
	d.layer.forged = &chain{values}
	return d.layer.forged
}

// forged is what the liars have in the place of chunk i, so that their chain's links hold.
func forged(i blob.ChunkIndex) content {
	if i == 0 {
		return 7
	}
	return 0
}

// sends is what a node sends as chunk i.
func (n *node) sends(d *disk, i blob.ChunkIndex) content {
	lies := n.spec.Lies
	right := d.cells[i].content
	if d.cells[i].origin == absent { // only a liar sends what it does not have
		right = content(1 + n.number)
	}
	n.checkSend(d, i, right)
	n.served++
	turn := n.served%n.spec.Every == 0
	switch {
	case lies.has(FalseChain):
		return forged(i)
	case lies.has(WrongBytes) && turn:
		return content(1000 + n.served)
	case lies.has(WrongPlace) && turn && d.n > 1:
		return -2 - content((i+1)%d.n)
	case lies.has(NearlyHave):
		return 0
	}
	return right
}

// lieToAsker is what a liar does about an ask that its Machine never hears of.
func (n *node) lieToAsker(s *session, i blob.ChunkIndex) bool {
	lies := n.spec.Lies
	switch {
	case lies == 0:
		return false
	case lies.has(Mute):
		return true
	case lies.has(Busy):
		s.refuse(i)
		return true
	case lies.has(NearlyHave):
		if n.asked++; lies.has(WrongBytes) || n.asked%servedOf == 0 {
			s.enqueue(s.indexWait(i))
		} else {
			s.refuse(i)
		}
		return true
	case !lies.has(FalseHave) || s.disk.servable.Has(i):
		return false
	case lies.has(WrongBytes | WrongPlace | FalseChain | Drip | Stall | CutOff):
		s.enqueue(s.indexWait(i))
		return true
	}
	s.refuse(i)
	return true
}

// lieInsteadOf is what a liar does in place of its Machine's action, if anything.
func (n *node) lieInsteadOf(action scheduler.Action) bool {
	switch a := action.(type) { //nolint:gochecksumtype // the others are carried out
	case scheduler.SendChain:
		return n.spec.Lies.has(chainLies) // they have the other one
	case scheduler.TellReading:
		return n.spec.Lies.has(FalseClaims | ClaimsAhead)
	case scheduler.AskPeer, scheduler.CancelAsk:
		return n.spec.Lies.has(AskFlood)
	case scheduler.Abandon:
		// The mask fell: the liar begins again.
		d := n.disk(a.Blob)
		n.w.after(second, again{d, n.life})
		return true
	case scheduler.Quarantine:
		return true
	}
	return false
}

// again means that a liar puts its mask back on.
type again struct {
	disk *disk
	life int
}

func (e again) happen(*world) {
	if e.disk.node.life == e.life && !e.disk.proven {
		e.disk.start()
	}
}

// A flood is one moment of a liar that never stops talking.
type flood struct {
	node *node
	life int
}

func (e flood) happen(w *world) {
	n := e.node
	if n.life != e.life {
		return
	}
	for _, d := range n.disks {
		for _, s := range d.sessions {
			if n.spec.Lies.has(HaveFlood) {
				one := blob.NewBitset(d.n)
				one.Add(blob.ChunkIndex(w.random.IntN(int(d.n))))
				one.KeepAll(d.servable)
				s.send(scheduler.PeerHas{Blob: d.digest(), Peer: n.id, Chunks: one})
			}
			if n.spec.Lies.has(PeersFlood) {
				s.send(scheduler.PeersTold{Blob: d.digest(), Peer: n.id, Peers: n.inventPeers()})
			}
		}
	}
	w.after(floodEvery, e)
}

// A beat is what a liar says and asks again every second.
type beat struct {
	node *node
	life int
}

func (e beat) happen(w *world) {
	n := e.node
	if n.life != e.life {
		return
	}
	n.beats++
	for _, d := range n.disks {
		for _, s := range d.sessions {
			if n.spec.Lies.has(FalseClaims) {
				s.claim(d.falseClaims(n.beats))
			}
			if n.spec.Lies.has(GroundGhosts) {
				s.send(scheduler.PeersTold{Blob: d.digest(), Peer: n.id, Peers: d.groundNames()})
			}
			if n.spec.Lies.has(AskFlood) {
				s.askForAll()
			}
		}
	}
	w.after(beatEvery, e)
}

// askForAll asks for what the far side has, from anywhere on, in place of the node's own Machine.
func (s *session) askForAll() {
	n := s.disk.n
	from, asks := blob.ChunkIndex(s.node.w.random.IntN(int(n))), 0
	for k := range n {
		i := (from + k) % n
		if asks == floodAsks {
			return
		}
		if s.has.Has(i) && s.indexAsked(i) < 0 {
			s.asked = append(s.asked, asked{chunk: i, owed: 1})
			s.send(scheduler.PeerAsked{Blob: s.disk.digest(), Peer: s.node.id, Chunk: i})
			asks++
		}
	}
}

// inventPeers names peers that do not exist.
func (n *node) inventPeers() []scheduler.PeerID {
	peers := make([]scheduler.PeerID, ghosts)
	for k := range peers {
		peers[k] = scheduler.PeerID(fmt.Sprintf("ghost%d", n.w.random.IntN(1_000_000)))
	}
	return peers
}
