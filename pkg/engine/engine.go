package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"os"
	"runtime"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/time/rate"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/chain"
	"github.com/shoal-project/shoal/pkg/store"
	"github.com/shoal-project/shoal/pkg/upstream"
	"github.com/shoal-project/shoal/pkg/wire"
	"github.com/shoal-project/shoal/scheduler"
)

// ErrStopping is returned for downloads wanted after the engine began to stop.
var ErrStopping = errors.New("shoal is stopping")

// Sessions speaks the exchange protocol with peers. None of its methods but Connect
// blocks. Errors of Connect wrap ErrRefused where the peer just does not want the session.
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
	// Find yields up to limit peers until the lookup is over.
	Find(ctx context.Context, key blob.Digest, limit int) iter.Seq[peer.AddrInfo]
}

// Membership knows the members this node is connected to; p2p implements it.
type Membership interface {
	Zone(p peer.ID) string
	// Block refuses the peer for a while. It may block: connections are closed.
	Block(p peer.ID, d time.Duration)
	// Contact and Introduce carry peer addresses for peer exchange. Contact does not block.
	Contact(p peer.ID) wire.Contact
	Introduce(c wire.Contact) (peer.ID, error)
}

// Upstream reads blobs from registries; pkg/upstream implements it.
type Upstream interface {
	ReadBlob(ctx context.Context, src upstream.Source, d blob.Digest, size, off, n blob.ByteCount) (io.ReadCloser, error)
	// RangesSupported is false for a while after the registry answered a part with the whole blob.
	RangesSupported(registry string) bool
}

// A Proven is an open proven blob, in the store or outside of it. Its methods are safe for
// concurrent use. It stays good when the blob is removed.
type Proven interface {
	// ReadAt reads for a client of this node.
	io.ReaderAt
	Geometry() blob.Geometry
	// Chunk opens chunk i for a peer. The caller closes it.
	Chunk(i blob.ChunkIndex) (io.ReadCloser, error)
	// File opens the blob's file once more, for sendfile. The caller closes it.
	File() (*os.File, error)
	Chain() (chain.Chain, error)
	Close() error
}

// Config configures an Engine. Store, Upstream and Log must be set.
type Config struct {
	Store *store.Store
	// Elsewhere opens a proven blob that is not in the store, or fails. Nil: there is none.
	Elsewhere func(d blob.Digest) (Proven, error)
	Upstream  Upstream
	// Scheduler's Hashers, where they are zero, follow from the cores of this machine.
	Scheduler scheduler.Config
	Log       *slog.Logger
	// BackgroundMax is the largest blob that is finished when no client waits for it any
	// more. Zero means 16 GiB.
	BackgroundMax blob.ByteCount
	// OnQuarantine is told why, each time a peer is quarantined. It must not block. It may be nil.
	OnQuarantine func(what string)
	// OnAudit is told of each chunk that is read again from the registry. It must not block. It may be nil.
	OnAudit func()
	// OnDisk is told of every failure of the disk, and with nil of every blob that was
	// kept. It is called from many goroutines and must not block. It may be nil.
	OnDisk func(err error)
	// IdleAfter is how long a proven blob nobody asks for stays in memory (it stays in
	// the store much longer). Zero means five minutes.
	IdleAfter time.Duration
	// MaxHeld bounds the blobs in memory that peers may make this node open: each costs
	// a file descriptor or three. Zero means 1024.
	MaxHeld int
}

func (c Config) withDefaults() Config {
	if c.BackgroundMax == 0 {
		c.BackgroundMax = 16 * blob.GiB
	}
	if c.IdleAfter == 0 {
		c.IdleAfter = 5 * time.Minute
	}
	if c.MaxHeld == 0 {
		c.MaxHeld = 1024
	}
	if c.Scheduler.Hashers == 0 {
		c.Scheduler.Hashers = hashers(runtime.GOMAXPROCS(0))
	}
	if c.OnQuarantine == nil {
		c.OnQuarantine = func(string) {}
	}
	if c.OnAudit == nil {
		c.OnAudit = func() {}
	}
	if c.Elsewhere == nil {
		c.Elsewhere = func(blob.Digest) (Proven, error) { return nil, store.ErrNotFound }
	}
	if c.OnDisk == nil {
		c.OnDisk = func(error) {}
	}
	return c
}

// hashers is how many links of one blob are checked at a time: one on each core, and one more
// that waits for it, so that no core waits for the loop.
func hashers(cores int) int { return min(max(4, 2*cores), 256) }

// An Engine downloads blobs and serves their chunks to peers. Its methods are safe for
// concurrent use. It works without peers until Join gives it some.
//
// Removals are the loop's alone: entries from the map, chunks from a partial file. What
// the Machine believes to be here is therefore here, and what it is told of was here when
// it was told.
type Engine struct {
	cfg   Config
	start time.Time
	net   network

	inbox   chan func(context.Context) // run by the loop, in the order of arrival
	pending []scheduler.Event          // of the loop alone: what is to be stepped through
	machine *scheduler.Machine
	inspect chan func(*scheduler.Machine)
	hashing chan struct{} // a token per core

	stopped  chan struct{} // closed when no event will be taken any more
	stopOnce sync.Once
	wg       sync.WaitGroup

	mu        sync.Mutex // never held during input or output
	downloads map[blob.Digest]*download
	closing   map[blob.Digest]chan struct{} // files of entries that were removed, until closed
	sessions  map[sessionID]*session
	stopping  bool

	failures  *lru.Cache[peer.ID, int64] // peer IDs cost nothing to make
	contacts  *lru.Cache[peer.ID, *rate.Limiter]
	traffic   Traffic
	countLock sync.Mutex // of read-modify-write on the two caches
}

// network is what the engine knows of the outside; empty for a node of its own.
type network struct {
	sessions  Sessions
	discovery Discovery
	members   Membership
}

// inboxSize is how much may wait for the loop before its reporters block.
const inboxSize = 1024

// maxPeersCounted bounds the peers whose failures and tales are remembered.
const maxPeersCounted = 4096

// New returns an engine that works once Run is called.
func New(cfg Config) *Engine {
	cfg = cfg.withDefaults()
	failures, err := lru.New[peer.ID, int64](maxPeersCounted)
	if err != nil {
		panic(err) // the size is a constant above zero
	}
	contacts, err := lru.New[peer.ID, *rate.Limiter](maxPeersCounted)
	if err != nil {
		panic(err) // as above
	}
	return &Engine{
		failures:  failures,
		contacts:  contacts,
		cfg:       cfg,
		start:     time.Now(),
		inbox:     make(chan func(context.Context), inboxSize),
		machine:   scheduler.New(cfg.Scheduler),
		inspect:   make(chan func(*scheduler.Machine)),
		hashing:   make(chan struct{}, runtime.GOMAXPROCS(0)),
		stopped:   make(chan struct{}),
		downloads: map[blob.Digest]*download{},
		closing:   map[blob.Digest]chan struct{}{},
		sessions:  map[sessionID]*session{},
	}
}

// Join connects the engine with peers. It must be called before Run and before the first
// session, or not at all.
func (e *Engine) Join(s Sessions, d Discovery, m Membership) {
	e.net = network{sessions: s, discovery: d, members: m}
}

// Run owns the Machine until ctx ends, and returns when every goroutine that the engine
// started is done.
func (e *Engine) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer e.wg.Wait()
	defer cancel()
	defer e.Stop()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	idle := time.NewTicker(max(e.cfg.IdleAfter/4, time.Millisecond))
	defer idle.Stop()
	for {
		e.setDeadline(timer)
		select {
		case <-ctx.Done():
			return nil
		case report := <-e.inbox:
			report(ctx)
		case look := <-e.inspect:
			look(e.machine)
		case <-timer.C:
			e.soon(scheduler.Ticked{})
		case <-idle.C:
			e.forgetIdle()
		}
		e.drain(ctx)
	}
}

func (e *Engine) setDeadline(timer *time.Timer) {
	wait := time.Hour
	if at, ok := e.machine.Deadline(); ok {
		wait = max(0, time.Duration(at-e.now()))
	}
	timer.Reset(wait)
}

// drain gives what was reported to the Machine, performs what it asks for, and goes on
// with what those actions reported at once.
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

// inLoop has the loop run f, after everything that was reported before. It is for other
// goroutines than the loop's, blocks while the inbox is full, and does nothing once the
// loop has ended.
func (e *Engine) inLoop(f func(ctx context.Context)) {
	select {
	case e.inbox <- f:
	case <-e.stopped:
	}
}

// post reports an event from any goroutine but the loop's.
func (e *Engine) post(ev scheduler.Event) { e.inLoop(func(context.Context) { e.soon(ev) }) }

// about reports an event about an entry, unless the entry is gone by then: another
// download of the same blob must not be told of it.
func (e *Engine) about(d *download, ev scheduler.Event) {
	e.inLoop(func(context.Context) {
		if e.find(d.digest) == d {
			e.soon(ev)
		}
	})
}

// spawn runs work in a goroutine that Run waits for. It is called by the loop, by such a
// goroutine, or with mu held and stopping false.
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
	return e.look(ctx, func(*scheduler.Machine) { e.find(blob.Digest{}) }) // nobody sits on mu either
}

// look runs f on the Machine inside the loop.
func (e *Engine) look(ctx context.Context, f func(*scheduler.Machine)) error {
	done := make(chan struct{})
	select {
	case e.inspect <- func(m *scheduler.Machine) { f(m); close(done) }:
	case <-e.stopped:
		return ErrStopping
	case <-ctx.Done():
		return fmt.Errorf("ask the engine: %w", context.Cause(ctx))
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("ask the engine: %w", context.Cause(ctx))
	}
}

// Stop ends every download: their bodies fail, their partial files stay. From then on
// nothing waits for the loop any more. Run stops the engine too; Stop is for one that may
// never have run.
func (e *Engine) Stop() {
	e.Refuse()
	e.stopOnce.Do(func() { close(e.stopped) })
	for _, d := range e.entries() {
		d.fail(ErrStopping)
	}
}

// Close closes every file. It is called after Run returned, the last session ended and
// the last Body was closed.
func (e *Engine) Close() {
	e.Stop()
	e.wg.Wait()
	for _, d := range e.entries() {
		e.close(d)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.downloads = map[blob.Digest]*download{}
}

// entries lists the blobs in memory.
func (e *Engine) entries() []*download {
	e.mu.Lock()
	defer e.mu.Unlock()
	entries := make([]*download, 0, len(e.downloads))
	for _, d := range e.downloads {
		entries = append(entries, d)
	}
	return entries
}

// find returns the entry of the blob, or nil.
func (e *Engine) find(digest blob.Digest) *download {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.downloads[digest]
}
