package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"runtime"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/sync/singleflight"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/store"
	"github.com/shoal-project/shoal/pkg/upstream"
	"github.com/shoal-project/shoal/pkg/wire"
	"github.com/shoal-project/shoal/scheduler"
)

// ErrStopping is returned for downloads wanted after the engine began to stop.
var ErrStopping = errors.New("shoal is stopping")

// Sessions speaks the exchange protocol with peers; p2p/exchange implements it.
type Sessions interface {
	Connect(ctx context.Context, p peer.ID, d blob.Digest, size blob.ByteCount) error
	Send(p peer.ID, d blob.Digest, m wire.Message) error
	SendChunk(p peer.ID, d blob.Digest, i blob.ChunkIndex, body func() (io.ReadCloser, error), done func(error)) error
	Disconnect(p peer.ID, d blob.Digest)
}

// Discovery finds peers; p2p/discovery implements it.
type Discovery interface {
	// Provide announces that this node takes part in the swarm of the key. It does not
	// block, and reports false when it announces too many already.
	Provide(key blob.Digest) bool
	// Withdraw ends that.
	Withdraw(key blob.Digest)
	// Find yields up to limit peers until the lookup is over.
	Find(ctx context.Context, key blob.Digest, limit int) iter.Seq[peer.AddrInfo]
}

// Membership knows the members this node is connected to; p2p implements it.
type Membership interface {
	Zone(p peer.ID) string
	Block(p peer.ID, d time.Duration)
	// Contact and Introduce carry peer addresses for peer exchange.
	Contact(p peer.ID) wire.Contact
	Introduce(c wire.Contact) (peer.ID, error)
}

// Upstream reads blobs from registries; pkg/upstream implements it.
type Upstream interface {
	ReadBlob(ctx context.Context, src upstream.Source, d blob.Digest, size, off, n blob.ByteCount) (io.ReadCloser, error)
}

// Config configures an Engine. Store, Upstream and Log must be set.
type Config struct {
	Store     *store.Store
	Upstream  Upstream
	Scheduler scheduler.Config
	Log       *slog.Logger
	// BackgroundMax is the largest blob that is finished when no client waits for it any
	// more. Zero means 16 GiB.
	BackgroundMax blob.ByteCount
	// OnQuarantine is told why, each time a peer is quarantined. It must not block. It may be nil.
	OnQuarantine func(what string)
	// IdleAfter is how long a proven blob nobody asks for stays in memory (it stays in
	// the store much longer). Zero means five minutes.
	IdleAfter time.Duration
}

func (c Config) withDefaults() Config {
	if c.BackgroundMax == 0 {
		c.BackgroundMax = 16 * blob.GiB
	}
	if c.IdleAfter == 0 {
		c.IdleAfter = 5 * time.Minute
	}
	return c
}

// An Engine downloads blobs and serves their chunks to peers. Its methods are safe for
// concurrent use. It works without peers until Join gives it some.
type Engine struct {
	cfg   Config
	start time.Time
	net   network

	events  chan scheduler.Event
	pending []scheduler.Event // of the loop alone: what an action reported at once
	machine *scheduler.Machine
	inspect chan func(*scheduler.Machine)
	hashing chan struct{} // a token per core

	stopped chan struct{} // closed when no event will be taken any more
	wg      sync.WaitGroup

	mu        sync.Mutex
	downloads map[blob.Digest]*download
	closing   map[blob.Digest]chan struct{} // partial files of abandoned downloads, until closed
	stopping  bool
	failures  *lru.Cache[peer.ID, int64] // peer IDs cost nothing to make

	opening singleflight.Group

	traffic Traffic
}

// network is what the engine knows of the outside; empty for a node of its own.
type network struct {
	sessions  Sessions
	discovery Discovery
	members   Membership
}

// eventQueue is how many events may wait for the loop before their reporters block.
const eventQueue = 1024

// maxPeersCounted bounds the peers whose failures are remembered.
const maxPeersCounted = 4096

// New returns an engine that works once Run is called.
func New(cfg Config) *Engine {
	cfg = cfg.withDefaults()
	failures, err := lru.New[peer.ID, int64](maxPeersCounted)
	if err != nil {
		panic(err) // the size is a constant above zero
	}
	return &Engine{
		failures:  failures,
		cfg:       cfg,
		start:     time.Now(),
		events:    make(chan scheduler.Event, eventQueue),
		machine:   scheduler.New(cfg.Scheduler),
		inspect:   make(chan func(*scheduler.Machine)),
		hashing:   make(chan struct{}, runtime.GOMAXPROCS(0)),
		stopped:   make(chan struct{}),
		downloads: map[blob.Digest]*download{},
		closing:   map[blob.Digest]chan struct{}{},
	}
}

// Join connects the engine with peers. It must be called before Run, or not at all.
func (e *Engine) Join(s Sessions, d Discovery, m Membership) {
	e.net = network{sessions: s, discovery: d, members: m}
}

// Run owns the Machine until ctx ends, and returns when every goroutine it started is done.
func (e *Engine) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer e.wg.Wait()
	defer cancel()
	defer e.stop()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	idle := time.NewTicker(e.cfg.IdleAfter / 4)
	defer idle.Stop()
	for {
		e.setDeadline(timer)
		select {
		case <-ctx.Done():
			return nil
		case ev := <-e.events:
			e.step(ctx, ev)
		case look := <-e.inspect:
			look(e.machine)
		case <-timer.C:
			e.step(ctx, scheduler.Ticked{})
		case <-idle.C:
			e.forgetIdle()
			e.drain(ctx)
		}
	}
}

func (e *Engine) setDeadline(timer *time.Timer) {
	wait := time.Hour
	if at, ok := e.machine.Deadline(); ok {
		wait = max(0, time.Duration(at-e.now()))
	}
	timer.Reset(wait)
}

// step gives one event to the Machine, performs what it asks for, and goes on with what
// those actions reported at once.
func (e *Engine) step(ctx context.Context, ev scheduler.Event) {
	e.pending = append(e.pending, ev)
	e.drain(ctx)
}

// drain steps through what was reported inside the loop.
func (e *Engine) drain(ctx context.Context) {
	for len(e.pending) > 0 {
		next := e.pending[0]
		e.pending = e.pending[1:]
		for _, action := range e.machine.Step(e.now(), next) {
			e.perform(ctx, action)
		}
	}
	e.pending = nil
}

// soon reports an event from inside the loop, where post would wait for itself.
func (e *Engine) soon(ev scheduler.Event) { e.pending = append(e.pending, ev) }

// post reports an event from any other goroutine. It is dropped once the loop has ended.
func (e *Engine) post(ev scheduler.Event) {
	select {
	case e.events <- ev:
	case <-e.stopped:
	}
}

// spawn runs work in a goroutine that Run waits for.
func (e *Engine) spawn(work func()) { e.wg.Go(work) }

func (e *Engine) now() scheduler.Time { return scheduler.Time(time.Since(e.start)) }

// MembersCounted reports how many members this node is connected to.
func (e *Engine) MembersCounted(n int) { e.post(scheduler.MembersCounted{Members: n}) }

// Refuse makes the engine take no new downloads; those under way go on.
func (e *Engine) Refuse() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.stopping = true
}

// Ping returns once the loop has answered, or ctx's error: a sign of life.
func (e *Engine) Ping(ctx context.Context) error {
	return e.look(ctx, func(*scheduler.Machine) {})
}

// look runs f on the Machine inside the loop.
func (e *Engine) look(ctx context.Context, f func(*scheduler.Machine)) error {
	done := make(chan struct{})
	select {
	case e.inspect <- func(m *scheduler.Machine) { f(m); close(done) }:
		<-done
		return nil
	case <-e.stopped:
		return ErrStopping
	case <-ctx.Done():
		return fmt.Errorf("ask the engine: %w", context.Cause(ctx))
	}
}

// stop ends every download: their bodies fail, their partial files stay.
func (e *Engine) stop() {
	e.Refuse()
	close(e.stopped)
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, d := range e.downloads {
		d.fail(ErrStopping)
	}
}

// Close closes every file. It is called after Run returned and the last Body was closed.
func (e *Engine) Close() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, d := range e.downloads {
		e.close(d)
	}
	e.downloads = map[blob.Digest]*download{}
}
