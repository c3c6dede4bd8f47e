package discovery

import (
	"container/heap"
	"slices"
	"testing"
	"time"

	pb "github.com/libp2p/go-libp2p-kad-dht/pb"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/shoal-project/shoal/pkg/blob"
)

// What things take in the cluster of this model, each about twice what was measured on a slow
// core. A node does one thing at a time.
const (
	modelTrip      = 500 * time.Microsecond // one way
	modelMessage   = 200 * time.Microsecond // of the CPU of whoever takes it
	modelHandshake = 3 * time.Millisecond   // of the CPU of either side, and four trips
	modelLookAgain = 33 * time.Millisecond  // the scheduler's first pause
)

// A model is a cluster in which time is only counted: real walks, searches and records on
// hosts that have a CPU each, connected with the peers of their routing tables.
type model struct {
	*kademlia
	now   time.Duration
	queue events
	nodes map[peer.ID]*modelNode
	key   blob.Digest
}

type modelNode struct {
	id        peer.ID
	records   *records
	busy      time.Duration // until when
	connected map[peer.ID]bool
	closer    []peer.ID // to the key
	patience  patience
	search    *search // the latest

	arrived time.Duration
	known   map[peer.ID]time.Duration // participants, and how long after its arrival
}

type modelEvent struct {
	at time.Duration
	do func()
}

type events []modelEvent

func (e events) Len() int           { return len(e) }
func (e events) Less(i, j int) bool { return e[i].at < e[j].at }
func (e events) Swap(i, j int)      { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)        { *e = append(*e, x.(modelEvent)) } //nolint:errcheck // nothing else is pushed
func (e *events) Pop() any          { x := (*e)[len(*e)-1]; *e = (*e)[:len(*e)-1]; return x }

func newModel(n int, seed uint64) *model {
	m := &model{kademlia: newKademlia(n, seed), nodes: map[peer.ID]*modelNode{}, key: keyNumber(int(seed))}
	for _, id := range m.peers {
		m.nodes[id] = &modelNode{
			id: id, records: newRecords(time.Hour, seed), connected: map[peer.ID]bool{}, known: map[peer.ID]time.Duration{},
			closer: nearest(m.table[id], placeOf(m.key), maxCloser),
		}
	}
	for id, table := range m.table {
		for _, other := range table {
			m.nodes[id].connected[other], m.nodes[other].connected[id] = true, true
		}
	}
	return m
}

func (m *model) after(d time.Duration, do func()) { heap.Push(&m.queue, modelEvent{m.now + d, do}) }

// work has the node's CPU do something for a while, once it has done what came before.
func (m *model) work(n *modelNode, long time.Duration, then func()) {
	n.busy = max(n.busy, m.now) + long
	m.after(n.busy-m.now, then)
}

func (m *model) run() {
	for m.queue.Len() > 0 {
		e := heap.Pop(&m.queue).(modelEvent) //nolint:errcheck // nothing else was pushed
		m.now = e.at
		e.do()
	}
}

// pull looks for others, and again while it knows few, as the scheduler does.
func (m *model) pull(n *modelNode, announces bool, enough int) {
	width := askers
	if announces {
		width = keepers
	}
	s := newSearch(m.key, announces)
	s.join(40)
	n.search = s
	for _, c := range n.records.some(noon, m.key, n.id, MaxFound) {
		m.sight(n, peer.ID(c.GetId()))
	}
	w := m.walkFrom(n.id, placeOf(m.key), width)
	placed := 0
	over := false
	var step func()
	step = func() {
		if over {
			return
		}
		if over = w.done() || s.satisfied(placed); over {
			if len(n.known) < enough {
				m.after(modelLookAgain, func() { m.pull(n, false, enough) })
			}
			return
		}
		for p, ok := w.next(); ok; p, ok = w.next() {
			asked := m.now
			m.after(n.patience.now(), func() { w.tell(p, slow); step() })
			m.ask(n, m.nodes[p], announces, func(participants []*pb.Message_Peer, closer []peer.ID) {
				n.patience.took(m.now - asked)
				w.tell(p, answered)
				placed++
				for _, c := range closer {
					w.hear(c)
				}
				for _, c := range participants {
					m.sight(n, peer.ID(c.GetId()))
				}
				step()
			})
		}
	}
	step()
}

// sight tells a node of a participant.
func (m *model) sight(n *modelNode, id peer.ID) {
	n.search.find(peer.AddrInfo{ID: id})
	if _, ok := n.known[id]; !ok {
		n.known[id] = m.now - n.arrived
	}
}

// ask connects the nodes if they are not, and asks.
func (m *model) ask(from, to *modelNode, announces bool, then func([]*pb.Message_Peer, []peer.ID)) {
	if !from.connected[to.id] {
		from.connected[to.id], to.connected[from.id] = true, true
		m.work(from, modelHandshake, func() {
			m.after(4*modelTrip, func() { m.work(to, modelHandshake, func() { m.ask(from, to, announces, then) }) })
		})
		return
	}
	m.after(modelTrip, func() {
		long := modelMessage
		if announces {
			long = 2 * modelMessage
		}
		m.work(to, long, func() {
			if announces {
				to.records.put(noon, m.key, from.id, &pb.Message_Peer{Id: []byte(from.id)})
				if to.search != nil {
					m.sight(to, from.id)
				}
			}
			participants := to.records.some(noon, m.key, from.id, maxTaken)
			m.after(modelTrip, func() { m.work(from, modelMessage, func() { then(participants, to.closer) }) })
		})
	})
}

// share is what that part of the durations does not exceed.
func share(d []time.Duration, q float64) time.Duration {
	d = slices.Sorted(slices.Values(d))
	return d[min(len(d)-1, int(q*float64(len(d))))]
}

// The promise: a crowd that wants one image at the same moment, in a cluster of any size, is in
// touch within about 100 ms, though most of the peers that keep its records were strangers.
func TestCrowdIsInTouchWithin100Milliseconds(t *testing.T) {
	for _, c := range []struct{ cluster, crowd int }{{50, 50}, {200, 200}, {500, 2}, {500, 20}, {500, 500}} {
		var first, eighth []time.Duration
		for seed := range uint64(max(1, 100/c.crowd)) {
			m := newModel(c.cluster, seed)
			crowd := m.rng.Perm(c.cluster)[:c.crowd]
			for _, i := range crowd {
				n := m.nodes[m.peers[i]]
				n.arrived = time.Duration(m.rng.Int64N(int64(time.Millisecond)))
				m.after(n.arrived, func() { m.pull(n, true, min(8, c.crowd-1)) })
			}
			m.run()
			for _, i := range crowd {
				var moments []time.Duration
				for _, at := range m.nodes[m.peers[i]].known {
					moments = append(moments, at)
				}
				if len(moments) == 0 {
					t.Fatalf("%d of %d: a node is alone", c.crowd, c.cluster)
				}
				slices.Sort(moments)
				first = append(first, moments[0])
				eighth = append(eighth, moments[min(8, c.crowd-1)-1])
			}
		}
		t.Logf("%d of %d: first %v / %v, eighth %v / %v", c.crowd, c.cluster, share(first, 0.5), share(first, 0.99), share(eighth, 0.5), share(eighth, 0.99))
		if p99 := share(first, 0.99); p99 > 100*time.Millisecond {
			t.Errorf("%d of %d: the first is known after %v", c.crowd, c.cluster, p99)
		}
	}
}
