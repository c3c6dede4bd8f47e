package store

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/chain"
)

// A Partial is a blob on its way: one file with the chunks at their places, and what is
// known about each. Its methods are safe for concurrent use; hashing and writing of
// different chunks run side by side.
//
// It decides alone which chunks are R, V and Q, from where they came and from the links
// that it hashed over the bytes in the file. Whoever changes or forgets a chunk takes its
// links with it.
type Partial struct {
	store    *Store
	digest   blob.Digest
	geometry blob.Geometry
	sums     summer // set by open
	data     File   // set by open
	state    File   // set by open

	ops      sync.WaitGroup // calls that use the files
	closing  sync.Once
	closeErr error

	committing sync.Mutex // one Commit at a time; taken before store.change

	mu        sync.Mutex // guards what follows; never held during input or output
	closed    bool
	failed    bool // the opening; there is nothing to close
	proven    bool
	renamed   bool // the data file lies in blobs/
	committed bool // and its name there is durable
	held      blob.ByteCount
	cells     []cell
	// prefix holds s(0) = IV, s(1) ... s(k): what the bytes now in the file hash to from
	// the beginning. They may be wrong bytes.
	prefix []chain.State
	// suffix holds s(i) in place i for every i from anchor on; s(n) is the digest. These
	// states are right whatever happens to the bytes: a link that ended in a right state
	// held over some bytes, and nobody finds others.
	suffix []chain.State
	anchor blob.ChunkIndex
}

// A cell is what is known of one chunk.
type cell struct {
	origin   Origin // zero: missing
	busy     bool   // somebody writes or replaces it
	verified bool   // its bytes link s(i) to s(i+1) of the suffix
	version  uint64 // of the bytes; what was read under another version does not count
	links    []link // that hold over these bytes, besides those in prefix and suffix
}

// A link says that the chunk's bytes lead from one state to the other.
type link struct{ before, after chain.State }

// Partial makes the partial blob d of size bytes, or goes on with the one on disk: its
// chunks count again once their bytes match their checksums, as R or Q. It reads all of
// them for that. The caller closes it.
//
// It returns ErrProven when the blob is proven already, ErrLive when somebody works on it,
// and a *DiskError when there is no room or the disk fails.
func (s *Store) Partial(d blob.Digest, size blob.ByteCount) (*Partial, error) {
	g, err := blob.NewGeometry(size)
	if err != nil {
		return nil, fmt.Errorf("begin blob %s: %w", d.Short(), err)
	}
	p := &Partial{
		store: s, digest: d, geometry: g,
		cells:  make([]cell, g.Chunks()),
		prefix: []chain.State{chain.IV()},
		suffix: make([]chain.State, g.Chunks()+1),
		anchor: g.Chunks(),
	}
	p.suffix[g.Chunks()] = chain.State(d)
	p.ops.Add(1) // Store.Close waits for the opening, too
	defer p.ops.Done()
	if err := s.enlist(p); err != nil {
		return nil, fmt.Errorf("begin blob %s: %w", d.Short(), err)
	}
	err = s.makeRoom()
	if err == nil {
		err = p.open()
	}
	if err != nil {
		p.giveUp()
		return nil, fmt.Errorf("begin blob %s: %w", d.Short(), err)
	}
	return p, nil
}

// enlist makes p the one live partial blob of its digest.
func (s *Store) enlist(p *Partial) error {
	s.change.Lock() // whoever removes the idle one ends first
	defer s.change.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return ErrClosed
	case s.blobs[p.digest] != nil:
		return ErrProven
	case s.live[p.digest] != nil:
		return ErrLive
	}
	s.live[p.digest] = p
	p.held = s.idle[p.digest].held // nobody else has p yet
	delete(s.idle, p.digest)
	return nil
}

// open opens both files and takes over what they hold.
func (p *Partial) open() error {
	dir := p.store.partialDir(p.digest)
	if err := p.store.fs.MkdirAll(dir); err != nil {
		return &DiskError{Op: "make the folder of a partial blob", Err: err}
	}
	dataPath := filepath.Join(dir, dataName)
	// A crash just before the rename leaves the file read-only.
	if err := p.store.fs.Chmod(dataPath, 0o600); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return &DiskError{Op: "open a partial blob", Err: err}
	}
	var err error
	if p.data, err = p.openSized(dataPath, int64(p.geometry.Size())); err != nil {
		return err
	}
	slots, err := p.openState(filepath.Join(dir, stateName))
	if err != nil {
		return err
	}
	p.recheck(slots)
	return nil
}

// openSized opens a file and gives it its size; what is added is a hole.
func (p *Partial) openSized(name string, size int64) (File, error) {
	f, err := p.store.fs.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, &DiskError{Op: "open a partial blob", Err: err}
	}
	info, err := f.Stat()
	if err == nil && info.Size() != size {
		err = f.Truncate(size)
	}
	if err != nil {
		_ = f.Close()
		return nil, &DiskError{Op: "size a partial blob", Err: err}
	}
	return f, nil
}

// openState opens the state file and returns its slots. One that is about anything but
// this blob of this size is begun anew, under a new key.
func (p *Partial) openState(name string) ([]slot, error) {
	h, slots, readErr := p.store.readState(p.digest)
	var err error
	if p.state, err = p.openSized(name, stateSize(p.geometry)); err != nil {
		return nil, err
	}
	if errors.Is(readErr, ErrDisk) && !damaged(readErr) {
		return nil, readErr
	}
	if readErr != nil || h.size != p.geometry.Size() {
		h = header{digest: p.digest, size: p.geometry.Size()}
		if _, err := rand.Read(h.key[:]); err != nil {
			return nil, fmt.Errorf("draw a key: %w", err)
		}
		slots = make([]slot, p.geometry.Chunks())
		err := p.state.Truncate(0)
		if err == nil {
			err = p.state.Truncate(stateSize(p.geometry))
		}
		if err == nil {
			_, err = p.state.WriteAt(h.encode(), 0)
		}
		if err != nil {
			return nil, &DiskError{Op: "begin a state file", Err: err}
		}
	}
	p.sums, err = newSummer(h.key)
	return slots, err
}

// recheck takes over the chunks whose bytes match their checksums.
func (p *Partial) recheck(slots []slot) {
	p.mu.Lock()
	p.held = 0 // what the state file claimed; now it is counted
	p.mu.Unlock()
	var wg sync.WaitGroup
	next := make(chan blob.ChunkIndex)
	for range min(runtime.GOMAXPROCS(0), len(slots)) {
		wg.Go(func() {
			buf := p.store.piece()
			defer p.store.pieces.Put(buf)
			for i := range next {
				n := p.geometry.Length(i)
				r := io.NewSectionReader(p.data, int64(p.geometry.Offset(i)), int64(n))
				sum, err := p.sums.copyChunk(i, n, r, buf, func([]byte, int64) error { return nil })
				if err == nil && sum == slots[i].sum {
					p.mu.Lock()
					p.hold(i, slots[i].origin)
					p.mu.Unlock()
				}
			}
		})
	}
	for i, slot := range slots {
		if slot.origin != 0 {
			next <- blob.ChunkIndex(i)
		}
	}
	close(next)
	wg.Wait()
}

// piece takes a buffer from the pool; the caller puts it back.
func (s *Store) piece() *piece {
	buf, ok := s.pieces.Get().(*piece)
	if !ok {
		panic("store: the pool holds pieces only")
	}
	return buf
}

// Digest is the digest that the bytes will have, or will not become proven.
func (p *Partial) Digest() blob.Digest { return p.digest }

// Geometry says how the blob is cut into chunks.
func (p *Partial) Geometry() blob.Geometry { return p.geometry }

// begin announces the use of the files. Every begin that succeeds is followed by ops.Done.
func (p *Partial) begin() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return ErrClosed
	}
	p.ops.Add(1)
	return nil
}

// heldBytes counts the bytes of the chunks held.
func (p *Partial) heldBytes() blob.ByteCount {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.held
}

// Close waits for the calls under way, a WriteChunk's reader included, and closes the
// files. Chunks stay on disk for a later try; a partial blob without any is removed. Files
// that File returned stay open.
func (p *Partial) Close() error {
	p.closing.Do(func() {
		p.mu.Lock()
		p.closed = true
		p.mu.Unlock()
		p.ops.Wait()
		p.closeErr = p.giveBack()
	})
	return p.closeErr
}

// giveUp ends an opening that failed. What is on disk may still be good.
func (p *Partial) giveUp() {
	s := p.store
	for _, f := range []File{p.data, p.state} {
		if f != nil {
			_ = f.Close()
		}
	}
	p.mu.Lock()
	p.closed, p.failed = true, true
	p.mu.Unlock()
	s.change.Lock()
	defer s.change.Unlock()
	idle, err := s.statPartial(p.digest)
	s.mu.Lock()
	delete(s.live, p.digest)
	if err == nil && idle.held > 0 {
		s.idle[p.digest] = idle
	}
	s.mu.Unlock()
	if err == nil && idle.held == 0 || errors.Is(err, fs.ErrNotExist) || errors.Is(err, errState) {
		s.clean(s.removePartial(p.digest), "partial blob without chunks", p.digest)
	}
}

// giveBack closes the files and makes the partial blob idle, or removes it when it holds
// nothing. It does nothing for the folder of a blob that was put into its place.
func (p *Partial) giveBack() error {
	p.mu.Lock()
	failed := p.failed
	p.mu.Unlock()
	if failed {
		return nil
	}
	errs := []error{p.data.Close(), p.state.Close()}
	p.mu.Lock()
	renamed, empty := p.renamed, p.count() == 0
	held := p.held
	p.mu.Unlock()
	s := p.store
	s.change.Lock()
	defer s.change.Unlock()
	s.mu.Lock()
	mine := s.live[p.digest] == p
	if mine {
		delete(s.live, p.digest)
		if !renamed && !empty {
			s.idle[p.digest] = idlePartial{size: p.geometry.Size(), held: held, lastUsed: s.cfg.Now()}
		}
	}
	s.mu.Unlock()
	if mine && !renamed && empty {
		errs = append(errs, s.removePartial(p.digest))
	}
	return errors.Join(errs...)
}

// hold makes the chunk count. The caller holds mu.
func (p *Partial) hold(i blob.ChunkIndex, from Origin) {
	p.cells[i].origin = from
	p.held += p.geometry.Length(i)
}

// lose makes the chunk count no more: its bytes are about to change, or to be forgotten.
// Every link over them goes too. The caller holds mu.
func (p *Partial) lose(i blob.ChunkIndex) {
	c := &p.cells[i]
	if c.origin == 0 {
		return
	}
	p.held -= p.geometry.Length(i)
	*c = cell{busy: c.busy, version: c.version + 1}
	p.prefix = p.prefix[:min(len(p.prefix), int(i)+1)]
}

// count is the number of chunks held. The caller holds mu.
func (p *Partial) count() (n int) {
	for _, c := range p.cells {
		if c.origin != 0 {
			n++
		}
	}
	return n
}
