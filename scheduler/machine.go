package scheduler

import (
	"hash/fnv"
	"math/rand/v2"
	"slices"

	"github.com/shoal-project/shoal/pkg/blob"
)

// A Machine decides for one node. It is a value owned by one goroutine: nothing in it is
// safe for concurrent use. The same Config and the same sequence of Step calls give the
// same actions, always.
type Machine struct {
	cfg      Config
	random   *rand.Rand
	now      Time
	out      []Action
	members  int
	lastRead ReadID
	lastGain Time // of any chunk of any blob
	swarms   map[blob.Digest]*swarm
	order    []*swarm // the same, in the order in which they began
	clients  map[blob.Digest]int
	banned   map[PeerID]*sentence
	uploads  uploads
}

// New returns a Machine that wants nothing yet. The Config must be valid.
func New(cfg Config) *Machine {
	cfg = cfg.WithDefaults()
	h := fnv.New64a()
	_, _ = h.Write([]byte(cfg.Self)) // a hash never fails to write
	return &Machine{
		cfg:     cfg,
		random:  rand.New(rand.NewPCG(cfg.Seed, h.Sum64())),
		swarms:  map[blob.Digest]*swarm{},
		clients: map[blob.Digest]int{},
		banned:  map[PeerID]*sentence{},
		uploads: uploads{since: map[upload]Time{}},
	}
}

// Step applies ev at now and returns the work that follows, in order. Time never runs
// backwards: an earlier now counts as the latest seen.
func (m *Machine) Step(now Time, ev Event) []Action {
	m.now = max(m.now, now)
	m.out = nil
	switch ev := ev.(type) {
	case DownloadStarted:
		m.start(ev)
	case UpstreamKnown:
		m.on(ev.Blob, m.upstreamKnown)
	case UpstreamWhole:
		m.download(ev.Blob, m.upstreamWhole)
	case BlobHeld:
		m.hold(ev)
	case BlobLost:
		m.on(ev.Blob, m.lose)
	case BlobProven:
		m.on(ev.Blob, m.prove)
	case ClientAsked:
		m.clients[ev.Blob]++
		m.on(ev.Blob, m.clientAsked)
	case ClientLeft:
		m.clientLeft(ev.Blob)
	case MembersCounted:
		m.membersCounted(ev.Members)
	case PeerMisbehaved:
		m.quarantine(ev.Peer, ev.Blob, ev.What)
	case Ticked:
		for _, s := range m.order {
			s.dirty = s.dirty || s.wake <= m.now
		}
	case PeersFound, PeerJoined, PeerLeft, PeerHas, PeerReads, PeersTold, PeerAsked, PeerCancelled, UploadEnded, PeerRefused:
		m.stepPeer(ev)
	case ChunkArrived, ReadProgressed, ReadEnded, ChainArrived, LinkChecked, PrefixHashed, ChunkAudited, HeadRead, ChunkLost:
		m.stepChunk(ev)
	}
	m.settle()
	return m.out
}

// stepPeer applies what came from or about a peer.
func (m *Machine) stepPeer(ev Event) {
	switch ev := ev.(type) { //nolint:gochecksumtype // Step's own switch is complete and sends these here
	case PeersFound:
		m.on(ev.Blob, func(s *swarm) { m.peersFound(s, ev) })
	case PeerJoined:
		m.peerJoined(ev)
	case PeerLeft:
		m.on(ev.Blob, func(s *swarm) { m.peerLeft(s, ev) })
	case PeerHas:
		m.on(ev.Blob, func(s *swarm) { m.peerHas(s, ev) })
	case PeerReads:
		m.on(ev.Blob, func(s *swarm) { m.peerReads(s, ev) })
	case PeersTold:
		m.on(ev.Blob, func(s *swarm) { m.learn(s, ev.Peer, ev.Peers) })
	case PeerAsked:
		m.on(ev.Blob, func(s *swarm) { m.peerAsked(s, ev) })
	case PeerCancelled:
		m.uploads.unqueue(upload{ev.Blob, ev.Peer, ev.Chunk})
	case UploadEnded:
		m.uploads.end(upload{ev.Blob, ev.Peer, ev.Chunk}, m.now)
	case PeerRefused:
		m.on(ev.Blob, func(s *swarm) { m.peerRefused(s, ev) })
	default:
		panic("scheduler: not an event about a peer")
	}
}

// stepChunk applies what happened to the bytes of a download.
func (m *Machine) stepChunk(ev Event) {
	switch ev := ev.(type) { //nolint:gochecksumtype // Step's own switch is complete and sends these here
	case ChunkArrived:
		m.download(ev.Blob, func(s *swarm) { m.chunkArrived(s, ev) })
	case ReadProgressed:
		m.download(ev.Blob, func(s *swarm) { m.readProgressed(s, ev) })
	case ReadEnded:
		m.download(ev.Blob, func(s *swarm) { m.readEnded(s, ev) })
	case ChainArrived:
		m.download(ev.Blob, func(s *swarm) { m.chainArrived(s, ev.Peer) })
	case LinkChecked:
		m.download(ev.Blob, func(s *swarm) { m.linkChecked(s, ev) })
	case PrefixHashed:
		m.download(ev.Blob, func(s *swarm) { m.prefixHashed(s, ev) })
	case ChunkAudited:
		m.download(ev.Blob, func(s *swarm) { m.chunkAudited(s, ev) })
	case HeadRead:
		m.download(ev.Blob, func(s *swarm) { m.headRead(s, ev.Why) })
	case ChunkLost:
		m.download(ev.Blob, func(s *swarm) { m.chunkLost(s, ev.Chunk) })
	default:
		panic("scheduler: not an event about a chunk")
	}
}

// Deadline is when the Machine wants to be Ticked, if no event comes before.
func (m *Machine) Deadline() (Time, bool) {
	at := m.placeFree()
	for _, s := range m.order {
		at = min(at, s.wake)
	}
	return at, at != never
}

// on applies f to the swarm of the blob, if there is one, and has it planned anew.
func (m *Machine) on(d blob.Digest, f func(*swarm)) {
	if s := m.swarms[d]; s != nil {
		s.dirty = true
		f(s)
	}
}

// download is on for blobs that are not proven yet.
func (m *Machine) download(d blob.Digest, f func(*swarm)) {
	if s := m.swarms[d]; s != nil && !s.proven {
		s.dirty = true
		f(s)
	}
}

// settle plans every swarm that something happened to. A plan may end other swarms'
// sessions (a quarantine does), so it looks again until all is quiet.
func (m *Machine) settle() {
	for {
		at := slices.IndexFunc(m.order, func(s *swarm) bool { return s.dirty })
		if at < 0 {
			at = m.nextStarved()
		}
		if at < 0 {
			break
		}
		s := m.order[at]
		s.dirty, s.starved = false, false
		m.plan(s)
	}
	m.startUploads()
}

// plan looks at everything that a swarm could do now. It depends on nothing but the
// state and the time: planning twice in a row does nothing the second time.
func (m *Machine) plan(s *swarm) {
	s.wake = never
	if s.proven {
		m.sendChains(s)
		m.tell(s)
		m.exchangePeers(s)
		return
	}
	for _, policy := range []func(*swarm){
		m.punish, m.lookUp, m.connect, m.repair, m.adopt, m.expireAsks, m.doubt, m.ask, m.hedge, m.verify, m.read, m.drip,
		m.tell, m.tellReading, m.exchangePeers, m.giveUp,
	} {
		policy(s)
		if s.ended || s.proven {
			return
		}
	}
}

// wakeAt asks for a Ticked at t.
func (m *Machine) wakeAt(s *swarm, t Time) {
	s.wake = min(s.wake, max(t, m.now+millisecond))
}

func (m *Machine) do(a Action) { m.out = append(m.out, a) }
