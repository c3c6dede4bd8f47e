package liar

import (
	"context"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/shoal-project/shoal/p2p/discovery"
	"github.com/shoal-project/shoal/p2p/exchange"
)

const (
	// lifetime ends what never ends by itself.
	lifetime = 3 * time.Minute
	// lookEvery is how often a liar looks for members that it has not visited yet.
	lookEvery = 50 * time.Millisecond
)

// A Liar tells the lies of one mode. The caller closes it, after the daemon.
type Liar struct {
	lie    lie
	truth  *truth
	ledger ledger
	ctx    context.Context //nolint:containedctx // ends with the Liar, which streams come and go in
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// New makes a liar; blobs is the folder of what it knows, as the registry lays it out.
func New(mode Mode, blobs string) *Liar {
	ctx, cancel := context.WithTimeout(context.Background(), lifetime)
	return &Liar{lie: mode.lie, truth: newTruth(blobs), ctx: ctx, cancel: cancel}
}

// Told is what each listener was told by now, in the order of their peer IDs.
func (l *Liar) Told() []Told { return l.ledger.all() }

// Close waits for all that is still being said.
func (l *Liar) Close() {
	l.cancel()
	l.wg.Wait()
}

// Around is what a daemon's protocols run on instead of the host. It is called once.
func (l *Liar) Around(h host.Host) host.Host {
	if l.lie.visit != nil {
		l.wg.Go(func() { l.visit(h) })
	}
	return &twoFaced{Host: h, liar: l}
}

// visit calls on each member once, as they come.
func (l *Liar) visit(h host.Host) {
	visited := make(map[peer.ID]bool)
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		for _, p := range h.Network().Peers() {
			if visited[p] {
				continue
			}
			visited[p] = true
			l.wg.Go(func() { l.lie.visit(l, h, p) })
		}
		select {
		case <-look.C:
		case <-l.ctx.Done():
			return
		}
	}
}

// pause waits, and reports false if the Liar is closed before.
func (l *Liar) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-l.ctx.Done():
		return false
	}
}

// A twoFaced is a host with the liar at every stream of the exchange, and at the DHT's
// where the lie is about that.
type twoFaced struct {
	host.Host
	liar *Liar
}

// SetStreamHandler implements host.Host.
func (h *twoFaced) SetStreamHandler(id protocol.ID, handler network.StreamHandler) {
	honest := handler
	switch {
	case id == exchange.ProtocolID:
		handler = func(s network.Stream) { honest(newTalk(h.liar, s)) }
	case id == discovery.Protocol && h.liar.lie.directory != nil:
		handler = func(s network.Stream) { h.liar.lie.directory(h.liar, h.Host, s) }
	}
	h.Host.SetStreamHandler(id, handler)
}

// NewStream implements host.Host.
func (h *twoFaced) NewStream(ctx context.Context, p peer.ID, ids ...protocol.ID) (network.Stream, error) {
	s, err := h.Host.NewStream(ctx, p, ids...)
	if err != nil || s.Protocol() != exchange.ProtocolID {
		return s, err
	}
	return newTalk(h.liar, s), nil
}
