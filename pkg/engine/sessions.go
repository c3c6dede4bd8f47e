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
			e.inLoop(func(context.Context) { e.notConnected(a, err) })
		}
	})
}

// notConnected reports that a session could not be opened, unless the peer opened one
// at the same time. It runs in the loop.
func (e *Engine) notConnected(a scheduler.Connect, err error) {
	if e.session(sessionID{peer.ID(a.Peer), a.Blob}) != nil {
		return
	}
	fault := sessionFault(err)
	if fault == scheduler.FaultMisbehaved {
		e.soon(scheduler.PeerMisbehaved{Peer: a.Peer, Blob: a.Blob, What: sentence(err)})
	}
	e.soon(scheduler.PeerLeft{Blob: a.Blob, Peer: a.Peer, Why: fault})
}

func (e *Engine) askPeer(a scheduler.AskPeer) {
	if err := e.send(a.Peer, a.Blob, wire.Ask{Chunk: a.Chunk}); err != nil {
		// The session is ending, which PeerLeft will say, or the peer owes too many answers.
		e.soon(scheduler.PeerRefused(a))
	}
}

// send queues a message. A session that is gone reports PeerLeft by itself.
func (e *Engine) send(p scheduler.PeerID, d blob.Digest, m wire.Message) error {
	if e.net.sessions == nil {
		return errNoBytes
	}
	err := e.net.sessions.Send(peer.ID(p), d, m)
	if err != nil {
		e.cfg.Log.Debug("message not sent", "peer", peer.ID(p).String(), "blob", d.String(), "err", err)
	}
	return err
}

// serve queues one chunk for the peer and reports when it is through.
func (e *Engine) serve(a scheduler.Serve) {
	ended := scheduler.UploadEnded(a)
	d := e.find(a.Blob)
	if d == nil || e.net.sessions == nil {
		_ = e.send(a.Peer, a.Blob, wire.Busy{Chunk: a.Chunk})
		e.soon(ended)
		return
	}
	n := int64(d.geometry.Length(a.Chunk))
	body := func() (io.ReadCloser, error) {
		r, err := e.chunk(d, a.Chunk)
		if err != nil {
			return nil, fmt.Errorf("open chunk %d: %w", a.Chunk, err)
		}
		return r, nil
	}
	done := func(err error) {
		if err == nil {
			d.toPeers.Add(n)
			e.traffic.toPeers.Add(n)
			e.traffic.toPeersRate.Add(time.Now(), blob.ByteCount(n))
		}
		e.about(d, ended)
	}
	if err := e.net.sessions.SendChunk(peer.ID(a.Peer), a.Blob, a.Chunk, body, done); err != nil {
		e.soon(ended)
	}
}

// chunk opens chunk i for a peer: R, V or proven, never Q; the store sees to that.
func (e *Engine) chunk(d *download, i blob.ChunkIndex) (io.ReadCloser, error) {
	partial, proven := d.files()
	switch {
	case proven != nil:
		r, err := proven.Chunk(i)
		if err != nil {
			e.lose(d, err)
			return nil, err
		}
		return &watchedReader{ReadCloser: r, failed: func(err error) { e.lose(d, err) }}, nil
	case partial != nil:
		r, err := partial.ReadServable(i)
		return io.NopCloser(r), err
	default:
		return nil, errNoBytes
	}
}

// A watchedReader tells when a proven blob's file does not give its bytes.
type watchedReader struct {
	io.ReadCloser
	failed func(error)
}

// Read implements io.Reader.
func (w *watchedReader) Read(p []byte) (int, error) {
	n, err := w.ReadCloser.Read(p)
	if unreadable(err) {
		w.failed(err)
	}
	return n, err
}

func (e *Engine) tellPeers(a scheduler.TellPeers) {
	if e.net.members == nil {
		return
	}
	var told wire.Peers
	for _, p := range a.Peers {
		told.Contacts = append(told.Contacts, e.net.members.Contact(peer.ID(p)))
	}
	_ = e.send(a.Peer, a.Blob, told) // news, not an answer
}

// sendChain sends the chain that this node checked or built itself.
func (e *Engine) sendChain(ctx context.Context, a scheduler.SendChain) {
	d := e.find(a.Blob)
	if d == nil {
		return
	}
	send := func(c chain.Chain) {
		for _, p := range a.Peers {
			_ = e.send(p, a.Blob, wire.Chain{Inner: c.Inner()}) // a gift, not an answer
		}
	}
	partial, proven := d.files()
	if partial != nil { // proven here just now: the chain is in memory
		if c, err := partial.Chain(); err == nil {
			e.spawn(func() { send(c) })
			return
		}
	}
	if proven == nil {
		return
	}
	e.onCore(ctx, func() { // without a chain file the whole blob is hashed
		c, err := proven.Chain()
		if err == nil {
			send(c)
			return
		}
		e.cfg.Log.WarnContext(ctx, "no chain to send", "blob", a.Blob.String(), "err", err)
		if errors.Is(err, store.ErrMismatch) || errors.Is(err, store.ErrDisk) && unreadable(err) {
			e.lose(d, err)
		}
	})
}

// ErrRefused is wrapped by errors of Sessions for a session that the peer, or this node,
// does not want: nobody is to blame.
var ErrRefused = errors.New("session refused")

// ErrPeerLeft is wrapped by errors given to Left for a session that the peer ended in good order.
var ErrPeerLeft = errors.New("the peer ended the session")

// A Violation is an error that says that the peer, and not the network, is at fault.
type Violation interface {
	error
	Violation() bool
}

// sessionFault says to the Machine what the end of a session means. What happened on
// this node (a full disk, a cancelled context) is never the peer's fault.
func sessionFault(err error) scheduler.Fault {
	var v Violation
	switch {
	case err == nil:
		return scheduler.FaultCancelled
	case errors.As(err, &v) && v.Violation():
		return scheduler.FaultMisbehaved
	case errors.Is(err, context.Canceled), errors.Is(err, ErrStopping):
		return scheduler.FaultCancelled
	case errors.Is(err, ErrRefused), errors.Is(err, ErrPeerLeft):
		return scheduler.FaultGone
	default:
		return scheduler.FaultTransient
	}
}

// maxSentence bounds what is remembered of a violation, in bytes.
const maxSentence = 200

func sentence(err error) string {
	s := err.Error()
	return s[:min(len(s), maxSentence)]
}
