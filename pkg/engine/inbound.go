package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/time/rate"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/chain"
	"github.com/shoal-project/shoal/pkg/store"
	"github.com/shoal-project/shoal/pkg/wire"
	"github.com/shoal-project/shoal/scheduler"
)

// The methods below are what p2p/exchange calls, in its goroutines: one call at a time
// for each session, from Joined to Left. One that blocks holds up its own session alone.

const (
	// messagesPerSecond and messagesAtOnce bound how fast the messages of one session
	// reach the loop. An honest peer asks for some 2000 chunks of a blob, or of a large
	// one for 300 a second where the network carries 10 Gbit/s, and tells as many.
	messagesPerSecond = 1000
	messagesAtOnce    = 4000
	// contactsPerSecond and contactsAtOnce bound the peers that one peer may introduce:
	// their addresses are kept for a while.
	contactsPerSecond = 64
	contactsAtOnce    = 2048
)

// ErrCrowded refuses a session because this node serves too many blobs already.
var ErrCrowded = errors.New("too many blobs are open")

type sessionID struct {
	peer peer.ID
	blob blob.Digest
}

// A session is one open session as the engine counts it.
type session struct {
	download *download // nil if there was none when it opened
	pace     *rate.Limiter
	coming   coming
}

func (e *Engine) session(id sessionID) *session {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.sessions[id]
}

// Accept says whether a peer may open a session about the blob: only one that this node
// downloads or holds, of the size that this node knows itself.
func (e *Engine) Accept(_ context.Context, p peer.ID, digest blob.Digest, size blob.ByteCount) error {
	if e.find(digest) == nil && e.crowded() {
		e.inLoop(func(context.Context) { e.forgetIdle() })
		return ErrCrowded
	}
	d, err := e.hold(digest)
	if err != nil {
		return err
	}
	if partial, proven := d.files(); partial == nil && proven == nil {
		return fmt.Errorf("%w: the download only begins", ErrUnknownBlob)
	}
	if d.geometry.Size() == size {
		return nil
	}
	// The size of a download is what a manifest said, and that may be the liar.
	if d.seeds() {
		e.post(scheduler.PeerMisbehaved{Peer: scheduler.PeerID(p), Blob: digest, What: "claims another blob size"})
	}
	return fmt.Errorf("%w: of %d bytes", ErrUnknownBlob, size)
}

// seeds reports whether the blob is proven.
func (d *download) seeds() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.done
}

// Joined reports an open session.
func (e *Engine) Joined(p peer.ID, digest blob.Digest) {
	e.mu.Lock()
	s := &session{download: e.downloads[digest], pace: rate.NewLimiter(messagesPerSecond, messagesAtOnce)}
	e.sessions[sessionID{p, digest}] = s
	if s.download != nil {
		s.download.count(+1)
	}
	e.mu.Unlock()
	zone := ""
	if e.net.members != nil {
		zone = e.net.members.Zone(p)
	}
	e.post(scheduler.PeerJoined{Blob: digest, Peer: scheduler.PeerID(p), Zone: zone})
}

// count counts a session that opened or ended.
func (d *download) count(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sessions += n
	d.lastUsed = time.Now()
}

// Left reports a session that is over.
func (e *Engine) Left(p peer.ID, digest blob.Digest, err error) {
	id := sessionID{p, digest}
	e.mu.Lock()
	if s := e.sessions[id]; s != nil && s.download != nil {
		s.download.count(-1) // the one that was counted up, whatever the map has by now
	}
	delete(e.sessions, id)
	e.mu.Unlock()
	fault := sessionFault(err)
	if fault == scheduler.FaultTransient {
		e.failed(p)
	}
	if fault == scheduler.FaultMisbehaved {
		e.post(scheduler.PeerMisbehaved{Peer: scheduler.PeerID(p), Blob: digest, What: sentence(err)})
	}
	e.post(scheduler.PeerLeft{Blob: digest, Peer: scheduler.PeerID(p), Why: fault})
}

// Violated reports a peer that broke the protocol before there was a session.
func (e *Engine) Violated(p peer.ID, digest blob.Digest, err error) {
	e.post(scheduler.PeerMisbehaved{Peer: scheduler.PeerID(p), Blob: digest, What: sentence(err)})
}

// Received reports one message of a session.
func (e *Engine) Received(p peer.ID, digest blob.Digest, m wire.Message) {
	if !e.paced(e.session(sessionID{p, digest})) {
		return
	}
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
	case wire.Reading:
		e.post(scheduler.PeerReads{Blob: digest, Peer: from, Spans: spansOf(m)})
	case wire.Hello, wire.Chunk:
		// The exchange answers both itself.
	}
}

func spansOf(m wire.Reading) []scheduler.Span {
	list := make([]scheduler.Span, 0, len(m.Spans))
	for _, s := range m.Spans {
		list = append(list, scheduler.Span(s))
	}
	return list
}

// paced waits until the session may send one more message, and reports false if the
// engine stopped first.
func (e *Engine) paced(s *session) bool {
	if s == nil {
		return true
	}
	wait := s.pace.Reserve().Delay()
	if wait == 0 {
		return true
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-e.stopped:
		return false
	}
}

// chainArrived keeps a peer's claim. The ends of the chain are this node's own. The
// Machine hears only of chains that were kept: a link checked under none would not hold.
func (e *Engine) chainArrived(from scheduler.PeerID, digest blob.Digest, m wire.Chain) {
	d := e.find(digest)
	if d == nil || d.live() == nil || d.seeds() {
		return
	}
	c, err := chain.New(d.geometry, digest, m.Inner)
	if err != nil {
		return // the exchange checked it for a blob of the session's size, and this is another
	}
	d.mu.Lock()
	kept := d.claims.add(from, c)
	d.mu.Unlock()
	if kept {
		e.about(d, scheduler.ChainArrived{Blob: digest, Peer: from})
	}
}

func (e *Engine) peersTold(from scheduler.PeerID, digest blob.Digest, m wire.Peers) {
	if e.net.members == nil || !e.tales(peer.ID(from)).AllowN(time.Now(), len(m.Contacts)) {
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

// tales bounds how many others the peer may introduce.
func (e *Engine) tales(p peer.ID) *rate.Limiter {
	e.countLock.Lock()
	defer e.countLock.Unlock()
	limiter, ok := e.contacts.Get(p)
	if !ok {
		limiter = rate.NewLimiter(contactsPerSecond, contactsAtOnce)
		e.contacts.Add(p, limiter)
	}
	return limiter
}

// Chunk stores a chunk that was asked for, as Q. Only an error of the body is returned:
// what goes wrong on this node does not end a session.
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
	count := func(n int) { e.countPeer(d, n) }
	if s := e.session(sessionID{p, digest}); s != nil {
		s.coming.begin(i)
		defer s.coming.end()
		count = func(n int) { s.coming.move(n); e.countPeer(d, n) }
	}
	counted := &peerBody{r: body, count: count}
	err := d.disk()
	if err == nil {
		err = partial.WriteChunk(i, store.FromPeer, counted)
	}
	if err == nil {
		e.about(d, scheduler.ChunkArrived{Blob: digest, Peer: from, Chunk: i})
		return nil
	}
	// The ask is over all the same: another was faster, or the chunk cannot be kept.
	e.about(d, scheduler.PeerRefused{Blob: digest, Peer: from, Chunk: i})
	switch {
	case counted.err != nil:
		return fmt.Errorf("store chunk %d: %w", i, err)
	case errors.Is(err, store.ErrDisk):
		e.diskFailed(d, err)
	case errors.Is(err, store.ErrHeld):
		e.giveWay(digest, i)
	default:
		e.cfg.Log.Debug("chunk not stored", "blob", digest.String(), "chunk", int(i), "err", err)
	}
	return nil
}

func (e *Engine) countPeer(d *download, n int) {
	now := time.Now()
	d.fromPeers.Add(int64(n))
	d.peerRate.Add(now, blob.ByteCount(n))
	e.traffic.fromPeers.Add(int64(n))
	e.traffic.peersRate.Add(now, blob.ByteCount(n))
}

// A peerBody counts what it delivers and keeps the error it ended with.
type peerBody struct {
	r     io.Reader
	count func(n int)
	err   error // but io.EOF
}

// Read implements io.Reader.
func (b *peerBody) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if n > 0 {
		b.count(n)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		b.err = err
	}
	return n, err
}
