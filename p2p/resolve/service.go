package resolve

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"golang.org/x/time/rate"
)

// Protocol names the streams.
const Protocol protocol.ID = "/shoal/resolve/1"

const (
	// DefaultTimeout bounds one question with its answer, on both sides.
	DefaultTimeout = 5 * time.Second
	// DefaultRate is how many questions per second a peer may ask.
	DefaultRate = 20
	// DefaultBurst is how many it may ask at once.
	DefaultBurst = 50
	// answersAtOnce bounds the memory that answers take, at most MaxManifest each; answersPerPeer
	// is how much of that one peer can have.
	answersAtOnce, answersPerPeer = 16, 2
	// streamsPerPeer is how many streams of one peer may be open at once. A node asks as much
	// when it pulls so many images at the same time.
	streamsPerPeer = 16
	// knownAskers bounds the memory of who asked how much.
	knownAskers = 4096
)

// A Handler answers what other members ask. It is called from several goroutines at once.
type Handler interface {
	// Resolve returns what this node knows; the zero Answer if nothing. The manifest is not
	// changed afterwards. An error ends the question without an answer.
	Resolve(ctx context.Context, from peer.ID, q Question) (Answer, error)
}

// A Config bounds the service; its zero value means the documented defaults.
type Config struct {
	Timeout time.Duration // DefaultTimeout
	Rate    float64       // DefaultRate, per second and peer
	Burst   int           // DefaultBurst
	Logger  *slog.Logger  // nil: silent
}

// Validate reports what is wrong with the configuration.
func (c Config) Validate() error {
	if c.Timeout < 0 || c.Rate < 0 || c.Burst < 0 {
		return errors.New("a limit or a timeout of the resolve service is negative")
	}
	return nil
}

// A Service asks and answers. It is safe for concurrent use.
type Service struct {
	host    host.Host
	handler Handler
	config  Config
	log     *slog.Logger
	slots   chan struct{}

	cancel context.CancelFunc
	mu     sync.Mutex
	closed bool
	wg     sync.WaitGroup
	askers *simplelru.LRU[peer.ID, *rate.Limiter]
	asking map[peer.ID]*asking
}

// asking is what there is of a peer while it asks.
type asking struct {
	streams int           // its open ones; needs Service.mu
	slots   chan struct{} // answersPerPeer
}

// New starts answering on the host. The caller closes the service before the host.
func New(h host.Host, handler Handler, config Config) (*Service, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	if config.Timeout == 0 {
		config.Timeout = DefaultTimeout
	}
	if config.Rate == 0 {
		config.Rate = DefaultRate
	}
	if config.Burst == 0 {
		config.Burst = DefaultBurst
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	askers, err := simplelru.NewLRU[peer.ID, *rate.Limiter](knownAskers, nil)
	if err != nil {
		return nil, fmt.Errorf("limit the resolve service: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &Service{
		host: h, handler: handler, config: config, log: config.Logger, slots: make(chan struct{}, answersAtOnce),
		cancel: cancel, askers: askers, asking: map[peer.ID]*asking{},
	}
	h.SetStreamHandler(Protocol, func(stream network.Stream) { s.accept(ctx, stream) })
	return s, nil
}

// Close stops answering and waits for the answers under way, which it interrupts.
func (s *Service) Close() error {
	s.host.RemoveStreamHandler(Protocol)
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	s.wg.Wait()
	return nil
}

// accept runs on a goroutine of libp2p's, which Close waits for.
func (s *Service) accept(ctx context.Context, stream network.Stream) {
	from := stream.Conn().RemotePeer()
	asker := s.admit(from)
	if asker == nil {
		_ = stream.Reset()
		return
	}
	defer s.leave(from, asker)
	ctx, cancel := context.WithTimeout(ctx, s.config.Timeout)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = stream.Reset() })
	defer stop()
	if err := s.serve(ctx, stream, asker); err != nil {
		s.log.DebugContext(ctx, "a question was not answered", "peer", from.String(), "error", err)
		_ = stream.Reset()
		return
	}
	_ = stream.Close()
}

// admit counts the question against the peer's rate and its streams, and the goroutine for
// Close. Unless it returns nil, leave must follow.
func (s *Service) admit(from peer.ID) *asking {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	limiter, ok := s.askers.Get(from)
	if !ok {
		limiter = rate.NewLimiter(rate.Limit(s.config.Rate), s.config.Burst)
		s.askers.Add(from, limiter)
	}
	p := s.asking[from]
	if p == nil {
		p = &asking{slots: make(chan struct{}, answersPerPeer)}
	}
	if p.streams == streamsPerPeer || !limiter.Allow() {
		return nil
	}
	p.streams++
	s.asking[from] = p
	s.wg.Add(1)
	return p
}

// leave takes back what admit counted but for the rate.
func (s *Service) leave(from peer.ID, p *asking) {
	s.mu.Lock()
	if p.streams--; p.streams == 0 {
		delete(s.asking, from)
	}
	s.mu.Unlock()
	s.wg.Done()
}

// serve reads the question, and answers once it is the peer's turn: who says nothing takes
// no slot.
func (s *Service) serve(ctx context.Context, stream network.Stream, p *asking) error {
	message, err := readMessage(stream, maxQuestion)
	if err != nil {
		return err
	}
	q, err := decodeQuestion(message)
	if err != nil {
		return err
	}
	for _, slots := range []chan struct{}{p.slots, s.slots} {
		select {
		case slots <- struct{}{}:
			defer func() { <-slots }()
		case <-ctx.Done():
			return fmt.Errorf("wait for a slot: %w", context.Cause(ctx))
		}
	}
	return s.answer(ctx, stream, q)
}

func (s *Service) answer(ctx context.Context, stream network.Stream, q Question) error {
	a, err := s.handler.Resolve(ctx, stream.Conn().RemotePeer(), q)
	if err != nil {
		return fmt.Errorf("resolve: %w", err)
	}
	a.Age = min(max(a.Age, 0), MaxAge)
	if err := check(q, a); err != nil {
		return err // this node would say something wrong
	}
	return writeMessage(stream, encodeAnswer(a))
}

// check proves that the answer's bytes are those of its digest, and that the digest is the one
// that was asked for where the question named one.
func check(q Question, a Answer) error {
	if err := a.Validate(); err != nil || !a.Found {
		return err
	}
	if want, ok := q.ByDigest(); ok && (a.Digest != want || len(a.Manifest) == 0) {
		return fmt.Errorf("%w: the answer is not the content that was asked for", ErrMalformed)
	}
	if len(a.Manifest) > 0 && sha256.Sum256(a.Manifest) != a.Digest {
		return fmt.Errorf("%w: the manifest does not have its digest", ErrMalformed)
	}
	return nil
}
