package engine

import (
	"context"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/shoal-project/shoal/pkg/wire"
	"github.com/shoal-project/shoal/scheduler"
)

// perform carries out one action. It runs in the loop and never blocks.
func (e *Engine) perform(ctx context.Context, action scheduler.Action) {
	switch a := action.(type) {
	case scheduler.FindPeers:
		e.findPeers(ctx, a)
	case scheduler.Announce:
		e.announce(a)
	case scheduler.Connect:
		e.connect(ctx, a)
	case scheduler.Disconnect:
		e.disconnect(a)
	case scheduler.AskPeer:
		e.askPeer(a)
	case scheduler.CancelAsk:
		e.cancelAsk(a)
	case scheduler.Serve:
		e.serve(a)
	case scheduler.RefuseBusy:
		_ = e.send(a.Peer, a.Blob, wire.Busy{Chunk: a.Chunk}) // a session that is gone needs no answer
	case scheduler.TellHave:
		e.tellHave(a)
	case scheduler.TellReading:
		e.tellReading(a)
	case scheduler.TellPeers:
		e.tellPeers(a)
	case scheduler.SendChain:
		e.sendChain(ctx, a)
	case scheduler.Quarantine:
		e.quarantine(a)
	default:
		e.work(ctx, action)
	}
}

// work carries out an action between this node, its store and the registry.
func (e *Engine) work(ctx context.Context, action scheduler.Action) {
	switch a := action.(type) { //nolint:gochecksumtype // perform has the others
	case scheduler.ReadUpstream:
		e.readUpstream(ctx, a)
	case scheduler.CancelRead:
		e.cancelRead(a)
	case scheduler.CheckLink:
		e.checkLink(ctx, a)
	case scheduler.HashPrefix:
		e.hashPrefix(ctx, a)
	case scheduler.ReadHead:
		e.readHead(ctx, a)
	case scheduler.AuditChunk:
		e.auditChunk(ctx, a)
	case scheduler.DropChunk:
		e.dropChunk(a)
	case scheduler.DropChain:
		e.dropChain(a)
	case scheduler.Release:
		e.release(ctx, a)
	case scheduler.Abandon:
		e.abandon(a)
	default:
		panic("engine: an action that nobody carries out")
	}
}

func (e *Engine) disconnect(a scheduler.Disconnect) {
	if e.net.sessions != nil {
		e.net.sessions.Disconnect(peer.ID(a.Peer), a.Blob)
	}
}

// cancelAsk takes an ask back. A chunk that has begun to come and stands ends its session.
func (e *Engine) cancelAsk(a scheduler.CancelAsk) {
	_ = e.send(a.Peer, a.Blob, wire.Cancel{Chunk: a.Chunk}) // a session that is gone needs none
	s := e.session(sessionID{peer.ID(a.Peer), a.Blob})
	if s != nil && s.coming.stands(a.Chunk) {
		e.disconnect(scheduler.Disconnect{Blob: a.Blob, Peer: a.Peer})
	}
}

func (e *Engine) tellHave(a scheduler.TellHave) {
	for _, p := range a.Peers {
		_ = e.send(p, a.Blob, wire.Have{Chunks: a.Chunks}) // news, not an answer
	}
}

func (e *Engine) tellReading(a scheduler.TellReading) {
	var reading wire.Reading
	for _, s := range a.Spans {
		reading.Spans = append(reading.Spans, wire.Span(s))
	}
	for _, p := range a.Peers {
		_ = e.send(p, a.Blob, reading) // news, not an answer
	}
}

func (e *Engine) announce(a scheduler.Announce) {
	if e.net.discovery != nil && !e.net.discovery.Provide(a.Key) {
		e.cfg.Log.Debug("not announced: too many keys already", "key", a.Key.String())
	}
}

func (e *Engine) quarantine(a scheduler.Quarantine) {
	e.cfg.Log.Warn("peer quarantined", "peer", peer.ID(a.Peer).String(), "blob", a.Blob.String(),
		"why", a.What, "for", time.Duration(a.For))
	e.failed(peer.ID(a.Peer))
	e.cfg.OnQuarantine(a.What)
	for _, d := range e.entries() {
		d.mu.Lock()
		d.claims.forsake(a.Peer)
		d.mu.Unlock()
	}
	if e.net.members != nil {
		e.spawn(func() { e.net.members.Block(peer.ID(a.Peer), time.Duration(a.For)) })
	}
}
