package sim

import (
	"fmt"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/scheduler"
)

// A machine decides for a node: a scheduler.Machine, but in tests of the network itself.
type machine interface {
	Step(now scheduler.Time, ev scheduler.Event) []scheduler.Action
	Deadline() (scheduler.Time, bool)
}

// A node is one Machine with its links, its store and its sessions.
type node struct {
	w        *world
	number   int
	id       scheduler.PeerID
	spec     Node
	up, down link
	cores    cores
	disks    []*disk
	m        machine
	life     int // counts crashes: what was under way for an earlier life is over
	dead     bool
	begun    bool
	members  int            // as last told to the Machine
	tick     scheduler.Time // the earliest tick that is queued

	connected []bool                 // by number: there is a connection
	blocked   map[int]scheduler.Time // by number: refused until
	uploads   int                    // chunks that are sent or queued in a session
	waits     int                    // asks of peers without an answer
	served    int
	asked     int   // by peers, of a liar that counts
	beats     int   // of a liar
	sentences int   // quarantines that others imposed on it
	wrong     int   // wrong chunks that honest nodes took from it
	throttle  *link // of a liar that sends slowly
}

func (w *world) addNode(i int, spec Node) {
	n := &node{
		w: w, number: i, spec: spec, id: scheduler.PeerID(fmt.Sprintf("n%03d", i)), tick: never,
		up: link{rate: int64(spec.Up)}, down: link{rate: int64(spec.Down)},
		connected: make([]bool, len(w.cfg.Nodes)),
	}
	for k := range w.blobs {
		n.disks = append(n.disks, newDisk(n, k))
	}
	n.awake()
	w.nodes = append(w.nodes, n)
	w.byID[n.id] = n
	n.await(len(n.disks))
	w.after(spec.Start, begin{n, 0})
	if spec.Crash > 0 {
		w.after(spec.Crash, crash{n})
		if spec.Restart > spec.Crash {
			w.after(spec.Restart, restart{n})
		}
	}
}

// await counts downloads that the run waits for. Nobody waits for a liar.
func (n *node) await(downloads int) {
	if n.spec.Lies == 0 {
		n.w.waiting += downloads
	}
}

// awake gives the node a new Machine.
func (n *node) awake() {
	cfg := n.w.cfg.Scheduler
	cfg.Self, cfg.Zone, cfg.Seed = n.id, n.spec.Zone, n.w.cfg.Seed+uint64(n.life)<<32
	n.m = scheduler.New(cfg)
	n.cores, n.blocked, n.members, n.tick = cores{free: n.w.cfg.Cores}, map[int]scheduler.Time{}, 0, never
}

// begin has the node want every blob, or hold them.
type begin struct {
	node *node
	life int
}

func (e begin) happen(*world) {
	n := e.node
	if n.dead || n.life != e.life {
		return
	}
	n.begun = true
	n.count()
	if n.spec.Lies != 0 {
		n.beginToLie()
	}
	for _, d := range n.disks {
		switch {
		case n.spec.Held && !d.proven:
			d.fill()
			n.await(-1)
			fallthrough
		case d.proven:
			d.wanted = true
			n.step(scheduler.BlobHeld{Blob: d.digest(), Size: d.layer.geometry.Size()})
		default:
			d.start()
		}
	}
}

// start begins a download with what the partial file holds.
func (d *disk) start() {
	d.wanted = true
	ev := scheduler.DownloadStarted{
		Blob: d.digest(), Size: d.layer.geometry.Size(), Image: d.layer.image,
		Upstream: d.node.spec.Registry != RegistryUnknown && d.node.spec.Lies.reads(),
	}
	if d.node.life > 0 {
		ev.FromRegistry, ev.Quarantined = blob.NewBitset(d.n), blob.NewBitset(d.n)
		for i := range d.n {
			switch d.cells[i].origin {
			case fromRegistry:
				ev.FromRegistry.Add(i)
			case fromPeer:
				ev.Quarantined.Add(i)
			case absent:
			}
		}
	}
	d.node.step(ev)
	d.client.ask(d)
}

// prove makes the blob proven.
func (d *disk) prove() {
	d.node.checkProven(d)
	d.proven, d.at = true, d.node.w.now
	d.servable = blob.FullBitset(d.n)
	d.node.await(-1)
	d.client.advance(d)
}

// count tells the Machine how many members there are, if that is news.
func (n *node) count() {
	if n.w.cfg.DHT.Off || n.dead || !n.begun {
		return
	}
	members := 0
	for _, o := range n.w.nodes {
		if o != n && !o.dead && !n.w.parted(n, o) {
			members++
		}
	}
	if members != n.members {
		n.members = members
		n.step(scheduler.MembersCounted{Members: members})
	}
}

func (n *node) disk(d blob.Digest) *disk {
	k, ok := n.w.byDigest[d]
	if !ok {
		panic("sim: a Machine speaks of a blob that nobody told it of")
	}
	return n.disks[k]
}

// A report is an event for a node's Machine.
type report struct {
	node *node
	life int
	ev   scheduler.Event
}

func (r report) happen(*world) {
	if r.node.life == r.life {
		r.node.step(r.ev)
	}
}

// soon reports an event after what is going on.
func (n *node) soon(ev scheduler.Event) { n.w.after(0, report{n, n.life, ev}) }

// step gives the Machine an event and carries out what comes back.
func (n *node) step(ev scheduler.Event) {
	if n.dead || n.w.err != nil {
		return
	}
	if n.w.cfg.Trace != nil {
		n.w.cfg.Trace(fmt.Sprintf("%v %s < %s", seconds(n.w.now), n.id, describe(ev)))
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
		n.w.fail(n, "wants a tick at %v, which is not in the future", seconds(at))
	}
	n.tickAt(at)
}

// tickAt has the Machine ticked at a time, unless it is before.
func (n *node) tickAt(at scheduler.Time) {
	at = max(at, n.w.now)
	if at < n.tick {
		n.tick = at
		n.w.after(at-n.w.now, ticked{n, n.life, at})
	}
}

// ticked means that the time has come that a Machine named.
type ticked struct {
	node *node
	life int
	at   scheduler.Time
}

func (e ticked) happen(w *world) {
	n := e.node
	if n.life != e.life || n.tick != e.at {
		return
	}
	n.tick = never
	switch at, ok := n.m.Deadline(); {
	case !ok:
	case at <= w.now:
		n.step(scheduler.Ticked{})
	default:
		n.tickAt(at)
	}
}
