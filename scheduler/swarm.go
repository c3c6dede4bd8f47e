package scheduler

import (
	"math"
	"slices"

	"github.com/shoal-project/shoal/pkg/blob"
)

// never is a time that does not come.
const never = Time(math.MaxInt64)

// A state says what is known of the bytes of a chunk here (design, section 5).
type state uint8

const (
	missing     state = iota
	quarantined       // Q
	registry          // R
	verified          // V
)

// A chunk is what the Machine knows about one chunk of a blob that it downloads.
type chunk struct {
	state     state
	sender    PeerID // of a Q chunk; empty when it was here before this life
	ask       *ask   // the peer it is asked of now
	read      ReadID // the upstream read that should bring it
	tie       uint32 // random order among chunks that are equally rare
	hedges    uint8
	linked    bool     // its link under the current chain holds, or it is V
	suspect   bool     // its link failed; waits for an audit
	auditing  bool     // an AuditChunk is under way
	accused   PeerID   // who sent bytes that the current chain refuses
	breaks    uint8    // how often it refused what peers sent
	avoid     []PeerID // who sent it wrong
	coveredAt Time     // since when some peer has it
}

// A swarm is one blob at this node with everybody who wants or has it.
type swarm struct {
	blob, image blob.Digest
	geometry    blob.Geometry
	n           blob.ChunkIndex
	started     Time
	wake        Time
	dirty       bool
	starved     bool // the reads of other blobs leave no room for its own
	proven      bool
	ended       bool
	clientsOnly bool
	waitedFrom  Time // when the clients that wait now began to; never: none waits

	chunks   []chunk // nil once proven
	servable blob.Bitset
	wanted   blob.Bitset     // missing, and neither asked of a peer nor about to come from upstream
	unlinked blob.Bitset     // here, and its link not known to hold
	open     blob.ChunkIndex // chunks in unlinked
	missing  blob.ChunkIndex // chunks of no bytes here
	lastGain Time            // of any chunk

	peers   map[PeerID]*peer
	sorted  []*peer  // the same, by ID
	holders []uint16 // sessions that hold each chunk and count
	covered blob.Bitset
	joins   int
	// There may be a thousand peers, and most steps concern one: so none looks at all for nothing.
	toldJoins int             // all peers were told of so many joins
	mostHeld  blob.ChunkIndex // the most chunks that any peer ever told
	wants     int             // goes up when a chunk comes to be wanted, and when a chain is dropped: more may be asked for it then

	order   order
	hood    neighbourhood
	records map[PeerID]record // of peers that left
	asks    asks
	up      upstream
	runs    []run           // by their first chunks
	run     blob.ChunkIndex // chunks in one
	claims  claims
	proof   proof
	mend    mending
	tells   tells
}

func (m *Machine) newSwarm(d blob.Digest, g blob.Geometry) *swarm {
	s := &swarm{
		blob: d, geometry: g, n: g.Chunks(), started: m.now, lastGain: m.now, wake: never, dirty: true, waitedFrom: never,
		peers:   map[PeerID]*peer{},
		order:   newOrder(d, m.cfg.Self),
		hood:    newNeighbourhood(m.now),
		records: map[PeerID]record{},
		tells:   newTells(),
	}
	m.swarms[d] = s
	m.order = append(m.order, s)
	return s
}

// start begins a download. A blob that is wanted or held already is left as it is.
func (m *Machine) start(ev DownloadStarted) {
	g, err := blob.NewGeometry(ev.Size)
	if err != nil || m.swarms[ev.Blob] != nil {
		return
	}
	s := m.newSwarm(ev.Blob, g)
	s.image, s.clientsOnly = ev.Image, ev.ClientsOnly
	s.chunks = make([]chunk, s.n)
	s.servable, s.unlinked, s.covered = blob.NewBitset(s.n), blob.NewBitset(s.n), blob.NewBitset(s.n)
	s.wanted = blob.FullBitset(s.n)
	s.holders = make([]uint16, s.n)
	s.missing = s.n
	s.tells.reset(s.n)
	s.runs, s.run = make([]run, s.n), s.widestRun()
	s.claims = newClaims(s.n)
	s.up = newUpstream(ev.Upstream, m.now)
	s.asks.lap = lap{suffix: s.n, from: s.n}
	s.proof = newProof()
	for i := range s.n {
		s.chunks[i].tie = m.random.Uint32()
	}
	for i := range s.n {
		switch {
		case ev.Verified.Has(i):
			m.setState(s, i, verified)
		case ev.FromRegistry.Has(i):
			m.setState(s, i, registry)
		case ev.Quarantined.Has(i):
			m.setState(s, i, quarantined)
		}
	}
	if m.clients[s.blob] > 0 {
		s.waitedFrom = m.now
	}
	m.announceDownload(s)
	m.learnFromSiblings(s)
}

// hold begins to serve a blob that the store has.
func (m *Machine) hold(ev BlobHeld) {
	g, err := blob.NewGeometry(ev.Size)
	if err != nil {
		return
	}
	if s := m.swarms[ev.Blob]; s != nil {
		m.on(ev.Blob, m.prove)
		return
	}
	m.becomeSeeder(m.newSwarm(ev.Blob, g))
}

// prove ends the download: from now on this node is a seeder.
func (m *Machine) prove(s *swarm) {
	if s.proven {
		return
	}
	m.convictAll(s)
	m.cancelEverything(s)
	m.becomeSeeder(s)
}

func (m *Machine) becomeSeeder(s *swarm) {
	s.proven, s.chunks, s.runs, s.missing = true, nil, nil, 0
	s.servable = blob.FullBitset(s.n)
	s.wanted, s.unlinked, s.covered, s.holders = blob.Bitset{}, blob.Bitset{}, blob.Bitset{}, nil
	s.proof, s.mend, s.up, s.asks, s.claims = proof{}, mending{}, upstream{}, asks{}, claims{}
	s.hood, s.records = newNeighbourhood(m.now), nil
	m.do(Announce{Key: s.blob})
	for _, p := range slices.Clone(s.sorted) {
		m.leaveSeeder(s, p)
	}
	s.tells.all = true
}

// cancelEverything takes back what is under way for a download.
func (m *Machine) cancelEverything(s *swarm) {
	for _, a := range slices.Clone(s.asks.open) {
		m.cancelAsk(s, a)
	}
	for _, r := range s.up.reads {
		m.cancelRead(s, r)
	}
}

// abandon ends the download without the blob.
func (m *Machine) abandon(s *swarm, why Fault) {
	m.cancelEverything(s)
	m.remove(s)
	m.do(Abandon{Blob: s.blob, Why: why})
}

// lose ends the serving of a blob that is no longer here.
func (m *Machine) lose(s *swarm) {
	if s.proven {
		m.remove(s)
	}
}

// remove ends every session of the swarm and forgets it.
func (m *Machine) remove(s *swarm) {
	for _, p := range slices.Clone(s.sorted) {
		m.disconnect(s, p)
	}
	s.ended, s.dirty = true, false
	delete(m.swarms, s.blob)
	m.order = slices.DeleteFunc(m.order, func(o *swarm) bool { return o == s })
	m.uploads.dropBlob(s.blob)
}

func (m *Machine) clientAsked(s *swarm) {
	if s.waitedFrom == never {
		s.waitedFrom = m.now
	}
}

func (m *Machine) clientLeft(d blob.Digest) {
	if m.clients[d]--; m.clients[d] > 0 {
		return
	}
	delete(m.clients, d)
	m.on(d, func(s *swarm) {
		s.waitedFrom = never
		if s.clientsOnly && !s.proven {
			m.abandon(s, FaultCancelled)
		}
	})
}

// setState records what became of a chunk and everything that depends on it.
func (m *Machine) setState(s *swarm, i blob.ChunkIndex, to state) {
	c := &s.chunks[i]
	from := c.state
	if from == to {
		return
	}
	c.state = to
	switch {
	case from == missing:
		s.missing--
	case to == missing:
		s.missing++
	}
	if to != quarantined {
		c.sender = ""
	}
	if to == registry || to == verified {
		if s.servable.Add(i) {
			s.tells.add(i)
		}
	} else {
		s.servable.Remove(i)
		s.tells.remove(i)
	}
	switch to {
	case verified:
		c.suspect = false
		s.setLinked(i, true)
		s.convict(i)
	case missing:
		c.suspect = false
		s.setLinked(i, false)
		m.prefixChanged(s, i)
	case quarantined, registry:
		s.setLinked(i, c.linked)
	}
	s.refresh(i)
}

// refresh keeps wanted true for a chunk after its state, its ask or its read changed.
func (s *swarm) refresh(i blob.ChunkIndex) {
	c := &s.chunks[i]
	if c.state == missing && c.ask == nil && !s.comingSoon(i) {
		if s.wanted.Add(i) {
			s.wants++
		}
	} else {
		s.wanted.Remove(i)
	}
}

// gain records that a chunk came, from wherever.
func (m *Machine) gain(s *swarm, i blob.ChunkIndex, to state) {
	c := &s.chunks[i]
	if c.ask != nil {
		m.cancelAsk(s, c.ask)
	}
	m.setState(s, i, to)
	s.lastGain, m.lastGain = m.now, m.now
	c.hedges = 0
}

// chunkLost has a chunk come again whose bytes could not be read back.
func (m *Machine) chunkLost(s *swarm, i blob.ChunkIndex) {
	if s.geometry.Valid(i) {
		m.setState(s, i, missing)
	}
}

// drop forgets a chunk's bytes, here and in the store.
func (m *Machine) drop(s *swarm, i blob.ChunkIndex) {
	m.do(DropChunk{Blob: s.blob, Chunk: i})
	m.setState(s, i, missing)
}
