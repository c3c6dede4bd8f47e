package content

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/shoal-project/shoal/pkg/blob"
)

// A Config says where the content is. Dir, StateDir and Runtime must be set.
type Config struct {
	// Dir is containerd's content folder. It is only read.
	Dir string
	// StateDir is where proofs are kept, a folder of this package's own. It is made.
	StateDir string
	// Runtime names the blobs.
	Runtime Runtime
	// Rate bounds the hashing, in bytes a second. 0 is as fast as the disk gives them.
	Rate blob.ByteCount
	// OnProven is told of a blob that is offered now, and OnGone of one that is not any more.
	// Both are called from goroutines of Run's and of whoever reads, and must not block. They
	// may be nil.
	OnProven, OnGone func(d blob.Digest)
	// Log takes what happens. Nil means nowhere.
	Log *slog.Logger
	// Timing is for tests; zero values mean the defaults.
	Timing Timing
}

// Timing is how long things take.
type Timing struct {
	// Retry is the first pause after the runtime was lost, which doubles up to RetryMax.
	// Defaults 500 ms and a minute.
	Retry, RetryMax time.Duration
	// Relist is between two listings that nothing asked for. Default 10 min.
	Relist time.Duration
	// Settle is from a change of images to the listing. Default 1 s.
	Settle time.Duration
	// Sweep is between two looks at whether the files are still there: containerd's garbage
	// collection says nothing. Default 30 s.
	Sweep time.Duration
}

func (t Timing) withDefaults() Timing {
	t.Retry = cmp.Or(t.Retry, 500*time.Millisecond)
	t.RetryMax = cmp.Or(t.RetryMax, time.Minute)
	t.Relist = cmp.Or(t.Relist, 10*time.Minute)
	t.Settle = cmp.Or(t.Settle, time.Second)
	t.Sweep = cmp.Or(t.Sweep, 30*time.Second)
	return t
}

// Validate reports a setting that cannot work.
func (c Config) Validate() error {
	switch {
	case !filepath.IsAbs(c.Dir):
		return fmt.Errorf("containerd's content folder %q is not an absolute path", c.Dir)
	case !filepath.IsAbs(c.StateDir):
		return fmt.Errorf("folder of proofs %q is not an absolute path", c.StateDir)
	case c.Runtime == nil:
		return errors.New("content: no runtime")
	case c.Rate < 0:
		return fmt.Errorf("rate of hashing %d is negative", c.Rate)
	default:
		return nil
	}
}

// A Content is what containerd holds, as far as it is proven. Its methods are safe for
// concurrent use. It offers nothing until Run has learned what there is.
type Content struct {
	cfg    Config
	proofs proofs
	work   chan struct{} // holds one item when there may be something to look at

	mu    sync.Mutex // guards what follows; never held during input or output
	index index
	lost  error // why the runtime is not followed; nil: it is
}

// New makes the folder of proofs.
func New(cfg Config) (*Content, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	ignore := func(blob.Digest) {}
	if cfg.OnProven == nil {
		cfg.OnProven = ignore
	}
	if cfg.OnGone == nil {
		cfg.OnGone = ignore
	}
	cfg.Timing = cfg.Timing.withDefaults()
	kept := proofs{cfg.StateDir}
	if err := kept.open(); err != nil {
		return nil, err
	}
	return &Content{cfg: cfg, proofs: kept, work: make(chan struct{}, 1), index: newIndex(), lost: errNotYet}, nil
}

var errNotYet = errors.New("not asked yet")

// Get opens the proven blob d, or returns ErrNotHeld. The caller closes it.
func (c *Content) Get(d blob.Digest) (*Blob, error) {
	c.mu.Lock()
	e := c.index.entries[d]
	known := e != nil && e.state == proven
	c.mu.Unlock()
	if !known {
		return nil, fmt.Errorf("open blob %s: %w", d.Short(), ErrNotHeld)
	}
	b, err := c.open(d)
	if err != nil {
		return nil, fmt.Errorf("open blob %s: %w: %w", d.Short(), ErrNotHeld, err)
	}
	return b, nil
}

func (c *Content) open(d blob.Digest) (*Blob, error) {
	f, now, err := c.openFile(d)
	if errors.Is(err, fs.ErrNotExist) {
		c.forget(d)
	}
	if err != nil {
		return nil, err
	}
	kept, err := c.proofs.load(d)
	if err == nil && kept.file != now {
		err = ErrSpoiled
	}
	var g blob.Geometry
	if err == nil {
		g, err = blob.NewGeometry(blob.ByteCount(now.size))
	}
	if err != nil {
		c.doubt(d)
		return nil, errors.Join(err, f.Close())
	}
	return &Blob{content: c, digest: d, geometry: g, proof: kept, file: f}, nil
}

// Bytes returns a proven blob whole, if it has at most limit bytes; one that is larger is
// ErrNotHeld, too. The bytes are the caller's, and were hashed just now.
func (c *Content) Bytes(d blob.Digest, limit blob.ByteCount) ([]byte, error) {
	b, err := c.Get(d)
	if err != nil {
		return nil, err
	}
	defer func() { _ = b.Close() }()
	if b.geometry.Size() > limit {
		return nil, fmt.Errorf("read blob %s: %w: it has %d bytes", d.Short(), ErrNotHeld, b.geometry.Size())
	}
	var all bytes.Buffer
	for i := range b.geometry.Chunks() {
		p, err := b.chunk(i)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrNotHeld, err)
		}
		all.Write(p)
	}
	return all.Bytes(), nil
}

// Kept reports whether the proven blob d has been there for at least that long, so that it
// looks as if containerd keeps it.
func (c *Content) Kept(d blob.Digest, long time.Duration) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.index.entries[d]
	return e != nil && e.state == proven && time.Since(e.since) >= long
}

// A Layer is one line of List.
type Layer struct {
	Digest blob.Digest
	Size   blob.ByteCount
}

// List returns the proven blobs, in the order of their digests.
func (c *Content) List() []Layer {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []Layer
	for d, e := range c.index.entries {
		if e.state == proven {
			all = append(all, Layer{Digest: d, Size: e.size})
		}
	}
	slices.SortFunc(all, func(a, b Layer) int { return slices.Compare(a.Digest[:], b.Digest[:]) })
	return all
}

// Stats is what there is of containerd's content.
type Stats struct {
	Blobs, Waiting          int            // proven ones, and those to be hashed
	BlobBytes, WaitingBytes blob.ByteCount // theirs
	Lost                    error          // why containerd is not followed; nil when it is
}

// Stats counts.
func (c *Content) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := Stats{Lost: c.lost}
	for _, e := range c.index.entries {
		switch e.state {
		case proven:
			s.Blobs++
			s.BlobBytes += e.size
		case listed, waiting:
			s.Waiting++
			s.WaitingBytes += e.size
		case unfit:
		}
	}
	return s
}

// doubt has a blob hashed anew before it is offered again.
func (c *Content) doubt(d blob.Digest) {
	c.mu.Lock()
	e := c.index.entries[d]
	doubted := e != nil && e.state == proven
	if doubted {
		c.index.again(d)
	}
	c.mu.Unlock()
	if !doubted {
		return
	}
	c.cfg.Log.Warn("containerd's copy of a blob has changed", "blob", d.String())
	c.dropProof(d)
	c.cfg.OnGone(d)
	c.wake()
}

// forget drops a blob that is gone.
func (c *Content) forget(d blob.Digest) {
	c.mu.Lock()
	known := c.index.remove(d)
	c.mu.Unlock()
	if known {
		c.gone(d)
	}
}

// gone does what follows from a blob that was taken out of the index.
func (c *Content) gone(d blob.Digest) {
	c.dropProof(d)
	c.cfg.OnGone(d)
}

func (c *Content) dropProof(d blob.Digest) {
	if err := c.proofs.remove(d); err != nil {
		c.cfg.Log.Warn("proof not removed", "blob", d.String(), "err", err)
	}
}

// wake has the prover look at the queue.
func (c *Content) wake() {
	select {
	case c.work <- struct{}{}:
	default: // it will look anyway
	}
}
