package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/chain"
	"github.com/shoal-project/shoal/pkg/store"
	"github.com/shoal-project/shoal/pkg/wire"
	"github.com/shoal-project/shoal/scheduler"
)

// ErrUnknownBlob refuses a session about a blob that this node neither has nor wants.
var ErrUnknownBlob = errors.New("blob neither here nor wanted")

// findLimit is how many peers one DHT lookup is asked for.
const findLimit = 40

// findPeers looks both keys up and reports peers as they come.
func (e *Engine) findPeers(ctx context.Context, a scheduler.FindPeers) {
	if e.net.discovery == nil {
		e.soon(scheduler.PeersFound{Blob: a.Blob, Done: true})
		return
	}
	keys := []blob.Digest{a.Blob}
	if !a.Image.IsZero() {
		keys = append(keys, a.Image)
	}
	e.spawn(func() {
		var lookups sync.WaitGroup
		for _, key := range keys {
			lookups.Go(func() {
				for found := range e.net.discovery.Find(ctx, key, findLimit) {
					e.post(scheduler.PeersFound{Blob: a.Blob, Peers: []scheduler.PeerID{scheduler.PeerID(found.ID)}})
				}
			})
		}
		lookups.Wait()
		e.post(scheduler.PeersFound{Blob: a.Blob, Done: true})
	})
}

func (e *Engine) connect(ctx context.Context, a scheduler.Connect) {
	d := e.find(a.Blob)
	if d == nil || e.net.sessions == nil {
		e.soon(scheduler.PeerLeft{Blob: a.Blob, Peer: a.Peer, Why: scheduler.FaultCancelled})
		return
	}
	e.spawn(func() {
		// On success Joined has reported the session already.
		if err := e.net.sessions.Connect(ctx, peer.ID(a.Peer), a.Blob, d.geometry.Size()); err != nil {
			e.cfg.Log.DebugContext(ctx, "no session", "peer", peer.ID(a.Peer).String(), "blob", a.Blob.String(), "err", err)
			e.post(scheduler.PeerLeft{Blob: a.Blob, Peer: a.Peer, Why: sessionFault(err)})
		}
	})
}

func (e *Engine) askPeer(a scheduler.AskPeer) { e.send(a.Peer, a.Blob, wire.Ask{Chunk: a.Chunk}) }

// send queues a message. A session that is gone reports PeerLeft by itself.
func (e *Engine) send(p scheduler.PeerID, d blob.Digest, m wire.Message) {
	if e.net.sessions == nil {
		return
	}
	if err := e.net.sessions.Send(peer.ID(p), d, m); err != nil {
		e.cfg.Log.Debug("message not sent", "peer", peer.ID(p).String(), "blob", d.String(), "err", err)
	}
}

// serve queues one chunk for the peer and reports when it is through.
func (e *Engine) serve(a scheduler.Serve) {
	ended := scheduler.UploadEnded(a)
	d := e.find(a.Blob)
	if d == nil || e.net.sessions == nil {
		e.soon(ended)
		return
	}
	n := int64(d.geometry.Length(a.Chunk))
	body := func() (io.ReadCloser, error) {
		r, err := d.chunk(a.Chunk)
		if err != nil {
			return nil, fmt.Errorf("open chunk %d: %w", a.Chunk, err)
		}
		return io.NopCloser(r), nil
	}
	done := func(err error) {
		if err == nil {
			d.toPeers.Add(n)
			e.traffic.toPeers.Add(n)
			e.traffic.toPeersRate.Add(time.Now(), blob.ByteCount(n))
		}
		e.post(ended)
	}
	if err := e.net.sessions.SendChunk(peer.ID(a.Peer), a.Blob, a.Chunk, body, done); err != nil {
		e.soon(ended)
	}
}

func (e *Engine) tellPeers(a scheduler.TellPeers) {
	if e.net.members == nil {
		return
	}
	var told wire.Peers
	for _, p := range a.Peers {
		told.Contacts = append(told.Contacts, e.net.members.Contact(peer.ID(p)))
	}
	e.send(a.Peer, a.Blob, told)
}

// sendChain sends the chain that this node checked or built itself.
func (e *Engine) sendChain(a scheduler.SendChain) {
	d := e.find(a.Blob)
	if d == nil {
		return
	}
	e.spawn(func() {
		c, err := d.ownChain()
		if err != nil {
			e.cfg.Log.Warn("no chain to send", "blob", a.Blob.String(), "err", err)
			return
		}
		for _, p := range a.Peers {
			e.send(p, a.Blob, wire.Chain{Inner: c.Inner()})
		}
	})
}

// ownChain is the proven blob's chain.
func (d *download) ownChain() (chain.Chain, error) {
	d.mu.Lock()
	partial, proven := d.partial, d.proven
	d.mu.Unlock()
	switch {
	case proven != nil:
		return proven.Chain()
	case partial != nil:
		return partial.Chain()
	default:
		return chain.Chain{}, errNoBytes
	}
}

// The methods below are what p2p/exchange calls; they run in its goroutines.

// Accept says whether a peer may open a session about the blob: only one that this node
// downloads or holds, of the size that this node knows itself.
func (e *Engine) Accept(_ context.Context, p peer.ID, digest blob.Digest, size blob.ByteCount) error {
	d, err := e.hold(digest)
	if err != nil {
		return err
	}
	if d.geometry.Size() != size {
		e.post(scheduler.PeerMisbehaved{Peer: scheduler.PeerID(p), Blob: digest, What: "claims another blob size"})
		return fmt.Errorf("%w: of %d bytes", ErrUnknownBlob, size)
	}
	return nil
}

// Joined reports an open session.
func (e *Engine) Joined(p peer.ID, digest blob.Digest) {
	if d := e.find(digest); d != nil {
		d.mu.Lock()
		d.sessions++
		d.mu.Unlock()
	}
	zone := ""
	if e.net.members != nil {
		zone = e.net.members.Zone(p)
	}
	e.post(scheduler.PeerJoined{Blob: digest, Peer: scheduler.PeerID(p), Zone: zone})
}

// Left reports a session that is over.
func (e *Engine) Left(p peer.ID, digest blob.Digest, err error) {
	if d := e.find(digest); d != nil {
		d.mu.Lock()
		d.sessions--
		d.lastUsed = time.Now()
		d.mu.Unlock()
	}
	fault := sessionFault(err)
	if fault != scheduler.FaultCancelled {
		e.failed(p)
	}
	if fault == scheduler.FaultMisbehaved {
		e.post(scheduler.PeerMisbehaved{Peer: scheduler.PeerID(p), Blob: digest, What: err.Error()})
	}
	e.post(scheduler.PeerLeft{Blob: digest, Peer: scheduler.PeerID(p), Why: fault})
}

// Received reports one message of a session.
func (e *Engine) Received(p peer.ID, digest blob.Digest, m wire.Message) {
	from := scheduler.PeerID(p)
	switch m := m.(type) {
	case wire.Have:
		e.post(scheduler.PeerHas{Blob: digest, Peer: from, Chunks: m.Chunks})
	case wire.Ask:
		e.post(scheduler.PeerAsked{Blob: digest, Peer: from, Chunk: m.Chunk})
	case wire.Cancel:
		e.post(scheduler.PeerCancelled{Blob: digest, Peer: from, Chunk: m.Chunk})
	case wire.Busy:
		e.post(scheduler.PeerRefused{Blob: digest, Peer: from, Chunk: m.Chunk})
	case wire.Chain:
		e.chainArrived(from, digest, m)
	case wire.Peers:
		e.peersTold(from, digest, m)
	case wire.Hello, wire.Chunk:
		// The exchange answers both itself.
	}
}

// chainArrived keeps a peer's claim. The ends of the chain are this node's own.
func (e *Engine) chainArrived(from scheduler.PeerID, digest blob.Digest, m wire.Chain) {
	d := e.find(digest)
	if d == nil || d.live() == nil {
		return
	}
	c, err := chain.New(d.geometry, digest, m.Inner)
	if err != nil {
		e.post(scheduler.PeerMisbehaved{Peer: from, Blob: digest, What: err.Error()})
		return
	}
	d.mu.Lock()
	_, had := d.chains[from]
	if len(d.chains) < maxChains || had {
		d.chains[from] = c
	}
	d.mu.Unlock()
	e.post(scheduler.ChainArrived{Blob: digest, Peer: from})
}

// maxChains bounds the claimed chains kept for one blob.
const maxChains = 8

func (e *Engine) peersTold(from scheduler.PeerID, digest blob.Digest, m wire.Peers) {
	if e.net.members == nil {
		return
	}
	var told []scheduler.PeerID
	for _, c := range m.Contacts {
		if id, err := e.net.members.Introduce(c); err == nil {
			told = append(told, scheduler.PeerID(id))
		}
	}
	e.post(scheduler.PeersTold{Blob: digest, Peer: from, Peers: told})
}

// Chunk stores a chunk that was asked for, as Q.
func (e *Engine) Chunk(p peer.ID, digest blob.Digest, i blob.ChunkIndex, body io.Reader) error {
	from := scheduler.PeerID(p)
	d := e.find(digest)
	var partial *store.Partial
	if d != nil {
		partial = d.live()
	}
	if partial == nil {
		return nil // nobody wants it any more; the exchange drains it
	}
	counted := &countingReader{r: body, count: func(n int) {
		now := time.Now()
		d.fromPeers.Add(int64(n))
		d.peerRate.Add(now, blob.ByteCount(n))
		e.traffic.fromPeers.Add(int64(n))
		e.traffic.peersRate.Add(now, blob.ByteCount(n))
	}}
	err := partial.WriteChunk(i, store.FromPeer, counted)
	if errors.Is(err, store.ErrHeld) {
		e.post(scheduler.PeerRefused{Blob: digest, Peer: from, Chunk: i}) // the ask is over; another was faster
		return nil
	}
	if err != nil {
		e.post(scheduler.PeerRefused{Blob: digest, Peer: from, Chunk: i})
		return fmt.Errorf("store chunk %d: %w", i, err)
	}
	e.post(scheduler.ChunkArrived{Blob: digest, Peer: from, Chunk: i})
	return nil
}

// A Violation is an error that says that the peer, and not the network, is at fault.
type Violation interface {
	error
	Violation() bool
}

func sessionFault(err error) scheduler.Fault {
	var v Violation
	switch {
	case err == nil, errors.Is(err, context.Canceled):
		return scheduler.FaultCancelled
	case errors.As(err, &v) && v.Violation():
		return scheduler.FaultMisbehaved
	default:
		return scheduler.FaultTransient
	}
}
