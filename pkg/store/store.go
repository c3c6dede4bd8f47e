package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/shoal-project/shoal/pkg/blob"
)

// A Store is the folder of blobs. Its methods are safe for concurrent use. It starts no
// goroutine that outlives a call.
type Store struct {
	cfg  Config
	fs   FS
	log  *slog.Logger
	lock io.Closer

	temps  atomic.Uint64 // numbers temporary files
	pieces sync.Pool     // of *piece

	// change is held while names below blobs/ or partial/ change hands, input and output
	// included. It is taken before mu.
	change sync.Mutex

	calls sync.WaitGroup // that change files, besides those of partial blobs

	mu     sync.Mutex // guards what follows; never held during input or output
	closed bool
	blobs  map[blob.Digest]*entry
	idle   map[blob.Digest]idlePartial
	live   map[blob.Digest]*Partial
}

// An entry is one proven blob.
type entry struct {
	size     blob.ByteCount
	lastUsed time.Time
	stamped  time.Time // the last use as the file's time has it
	open     int       // Proven handles
}

// An idlePartial is a partial blob that nobody works on.
type idlePartial struct {
	size     blob.ByteCount // of the whole blob
	held     blob.ByteCount // of the chunks that the state file names
	lastUsed time.Time
}

// stampEvery is how coarse the last use on disk is.
const stampEvery = 10 * time.Minute

// Open makes or opens the store, locks it, removes what a crash left behind and lists
// what is there. Errors are sentences for the person who chose the folder; ErrLocked is
// wrapped when another daemon has it.
func Open(cfg Config) (*Store, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	s := &Store{
		cfg: cfg, fs: cfg.FS, log: cfg.Log,
		pieces: sync.Pool{New: func() any { return new(piece) }},
		blobs:  map[blob.Digest]*entry{},
		idle:   map[blob.Digest]idlePartial{},
		live:   map[blob.Digest]*Partial{},
	}
	for _, dir := range []string{cfg.Dir, s.blobsDir(), s.chainsDir(), s.partialsDir()} {
		if err := s.fs.MkdirAll(dir); err != nil {
			return nil, fmt.Errorf("store folder %s cannot be made: %w", dir, err)
		}
	}
	lock, err := s.fs.Lock(filepath.Join(cfg.Dir, lockName))
	if err != nil {
		return nil, fmt.Errorf("store folder %s cannot be used: %w", cfg.Dir, err)
	}
	s.lock = lock
	if err := s.start(); err != nil {
		_ = lock.Close()
		return nil, err
	}
	return s, nil
}

func (s *Store) start() error {
	for _, dir := range []string{s.cfg.Dir, filepath.Dir(s.blobsDir())} {
		if err := s.fs.SyncDir(dir); err != nil {
			return fmt.Errorf("store folder %s cannot be synced: %w", dir, err)
		}
	}
	if err := s.probe(); err != nil {
		return err
	}
	if err := s.scan(); err != nil {
		return err
	}
	s.Trim()
	return nil
}

// probe finds out now, and not at the first pull, whether the folders can be written. A
// full disk is no reason not to start: what is there can still be served, and evicted.
func (s *Store) probe() error {
	for _, dir := range []string{s.blobsDir(), s.chainsDir(), s.partialsDir()} {
		temp := filepath.Join(dir, "probe"+tempSuffix)
		err := s.writeTemp(temp, nil, 0o600)
		if removeErr := s.fs.Remove(temp); err == nil || errors.Is(err, fs.ErrExist) {
			err = removeErr
		}
		if err != nil && !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT) {
			return fmt.Errorf("store folder %s cannot be written: %w", dir, err)
		}
	}
	return nil
}

// Close closes every partial blob, which waits for the writes under way (their readers
// must end: cancel them first), and gives the folder free. Proven handles stay good.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	live := make([]*Partial, 0, len(s.live))
	for _, p := range s.live {
		live = append(live, p)
	}
	s.mu.Unlock()
	var errs []error
	for _, p := range live {
		errs = append(errs, p.Close())
	}
	s.calls.Wait()
	return errors.Join(append(errs, s.lock.Close())...)
}

// Get opens the proven blob d, or returns ErrNotFound. The caller closes the handle; it
// stays good when the blob is evicted meanwhile.
//
// A blob that turns out to be gone, unreadable or of another size than its chain says is
// dropped, and not found.
func (s *Store) Get(d blob.Digest) (*Proven, error) {
	s.mu.Lock()
	e := s.blobs[d]
	if s.closed || e == nil {
		err := ErrNotFound
		if s.closed {
			err = ErrClosed
		}
		s.mu.Unlock()
		return nil, fmt.Errorf("open blob %s: %w", d.Short(), err)
	}
	e.open++
	s.mu.Unlock()
	p, err := s.openProven(d, e)
	if err == nil {
		s.used(d, e)
		return p, nil
	}
	s.release(e)
	if damaged(err) {
		s.drop(d, e, err)
		return nil, fmt.Errorf("open blob %s: %w: %w", d.Short(), ErrNotFound, err)
	}
	return nil, fmt.Errorf("open blob %s: %w", d.Short(), err)
}

// begin announces a change. Every begin that succeeds is followed by calls.Done.
func (s *Store) begin() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	s.calls.Add(1)
	return nil
}

// release undoes one open.
func (s *Store) release(e *entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e.open--
}

// used notes the use, in memory always and on disk now and then.
func (s *Store) used(d blob.Digest, e *entry) {
	now := s.cfg.Now()
	s.mu.Lock()
	e.lastUsed = now
	stamp := now.Sub(e.stamped) >= stampEvery
	if stamp {
		e.stamped = now
	}
	s.mu.Unlock()
	if stamp {
		if err := s.fs.Chtimes(s.blobPath(d), now); err != nil {
			s.log.Debug("last use not noted", "blob", d.String(), "err", err)
		}
	}
}

// damaged reports whether the error means that the file itself is no good, and not that
// this process is short of something.
func damaged(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EIO) ||
		errors.Is(err, ErrMismatch)
}

// drop forgets and removes a blob that is no good, unless it was replaced meanwhile.
func (s *Store) drop(d blob.Digest, e *entry, why error) {
	if s.begin() != nil {
		return
	}
	defer s.calls.Done()
	s.change.Lock()
	defer s.change.Unlock()
	s.mu.Lock()
	current := s.blobs[d] == e
	s.mu.Unlock()
	if !current {
		return
	}
	s.log.Warn("damaged blob dropped", "blob", d.String(), "err", why)
	err := s.removeBlob(d)
	if err == nil {
		err = s.fs.SyncDir(s.blobsDir()) // it must not come back with the next power cut
	}
	if err != nil {
		s.log.Warn("damaged blob not removed", "blob", d.String(), "err", err)
	}
}

// add lists a blob that was just put into its place.
func (s *Store) add(d blob.Digest, size blob.ByteCount) {
	now := s.cfg.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.blobs[d] = &entry{size: size, lastUsed: now, stamped: now}
}
