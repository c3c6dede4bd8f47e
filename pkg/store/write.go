package store

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/shoal-project/shoal/pkg/blob"
)

// WriteChunk reads chunk i from r into the file. When it returns nil the chunk is R or Q,
// by from, and survives the end of the process. Otherwise it is missing, as it was:
// ErrHeld when it is there already or somebody else writes it (r is then untouched),
// ErrLength when r holds fewer or more bytes than the chunk, r's own error wrapped, or a
// *DiskError.
func (p *Partial) WriteChunk(i blob.ChunkIndex, from Origin, r io.Reader) error {
	if !p.geometry.Valid(i) {
		return chunkError(i, p.geometry)
	}
	if from != FromRegistry && from != FromPeer {
		return fmt.Errorf("write chunk %d: unknown origin %d", i, from)
	}
	if err := p.seize(i, true); err != nil {
		return err
	}
	defer p.ops.Done()
	err := p.fill(i, from, r)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cells[i].busy = false
	if err == nil {
		p.hold(i, from)
	}
	return err
}

// seize makes the caller the only one who may change the chunk.
func (p *Partial) seize(i blob.ChunkIndex, missing bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := &p.cells[i]
	switch {
	case p.closed:
		return ErrClosed
	case c.busy, missing && c.origin != 0:
		return ErrHeld
	case p.proven:
		return ErrProven
	}
	c.busy = true
	p.ops.Add(1)
	return nil
}

// fill writes the bytes of r, and then the slot that says so.
func (p *Partial) fill(i blob.ChunkIndex, from Origin, r io.Reader) error {
	buf := p.store.piece()
	defer p.store.pieces.Put(buf)
	offset := int64(p.geometry.Offset(i))
	sum, err := p.sums.copyChunk(i, p.geometry.Length(i), r, buf, func(b []byte, at int64) error {
		if _, err := p.data.WriteAt(b, offset+at); err != nil {
			return &DiskError{Op: "write a chunk", Err: err}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := atEnd(r); err != nil {
		return fmt.Errorf("read chunk %d: %w", i, err)
	}
	return p.note(i, slot{origin: from, sum: sum})
}

// note writes the slot of a chunk.
func (p *Partial) note(i blob.ChunkIndex, s slot) error {
	if _, err := p.state.WriteAt(s.encode(i), slotOffset(i)); err != nil {
		return &DiskError{Op: "write a chunk's state", Err: err}
	}
	return nil
}

// atEnd returns nil when r ends here, and ErrLength when it goes on.
func atEnd(r io.Reader) error {
	var one [1]byte
	_, err := io.ReadFull(r, one[:])
	switch {
	case err == nil:
		return ErrLength
	case errors.Is(err, io.EOF):
		return nil
	default:
		return err
	}
}

// Replace reads chunk i as upstream has it from r, holds it against the bytes in the
// file, and has it in their place: the chunk is R. It reports whether the bytes were the
// same; links over them hold on only then. A chunk that was missing is not the same.
//
// Nothing changes on an error, unless the disk fails in mid-write: the chunk is missing
// then. It returns ErrHeld while somebody else writes the chunk, and ErrProven for a
// proven blob. The whole chunk is held in memory.
func (p *Partial) Replace(i blob.ChunkIndex, r io.Reader) (same bool, err error) {
	if !p.geometry.Valid(i) {
		return false, chunkError(i, p.geometry)
	}
	if err := p.seize(i, false); err != nil {
		return false, err
	}
	defer p.ops.Done()
	defer p.letGo(i)
	want := make([]byte, p.geometry.Length(i))
	if _, err := io.ReadFull(r, want); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return false, fmt.Errorf("read chunk %d: %w", i, ErrLength)
		}
		return false, fmt.Errorf("read chunk %d: %w", i, err)
	}
	if err := atEnd(r); err != nil {
		return false, fmt.Errorf("read chunk %d: %w", i, err)
	}
	if same, err := p.compare(i, want); err != nil || same {
		return same, err
	}
	p.mu.Lock()
	if p.proven {
		p.mu.Unlock()
		return false, ErrProven
	}
	p.lose(i) // before the first byte changes: readers look at the version afterwards
	p.mu.Unlock()
	if err := p.fill(i, FromRegistry, bytes.NewReader(want)); err != nil {
		return false, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hold(i, FromRegistry)
	return false, nil
}

// compare reports whether the chunk is there with these bytes, and makes it R if so. A
// chunk that cannot be read back is not the same. The caller has seized the chunk.
func (p *Partial) compare(i blob.ChunkIndex, want []byte) (bool, error) {
	p.mu.Lock()
	origin := p.cells[i].origin
	p.mu.Unlock()
	if origin == 0 {
		return false, nil
	}
	buf := p.store.piece()
	defer p.store.pieces.Put(buf)
	r := io.NewSectionReader(p.data, int64(p.geometry.Offset(i)), int64(len(want)))
	same := true
	sum, err := p.sums.copyChunk(i, blob.ByteCount(len(want)), r, buf, func(b []byte, at int64) error {
		same = same && bytes.Equal(b, want[at:int(at)+len(b)])
		return nil
	})
	if err != nil || !same {
		return false, nil // unreadable bytes are replaced like wrong ones
	}
	if err := p.note(i, slot{origin: FromRegistry, sum: sum}); err != nil {
		return false, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cells[i].origin = FromRegistry
	return true, nil
}

func (p *Partial) letGo(i blob.ChunkIndex) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cells[i].busy = false
}

// Drop forgets the chunk: it is missing, even if the *DiskError says that the state file
// still names it. It returns ErrHeld while somebody writes the chunk, and ErrProven for a
// proven blob.
func (p *Partial) Drop(i blob.ChunkIndex) error {
	if !p.geometry.Valid(i) {
		return chunkError(i, p.geometry)
	}
	if err := p.seize(i, false); err != nil {
		return err
	}
	defer p.ops.Done()
	defer p.letGo(i)
	p.mu.Lock()
	if p.proven {
		p.mu.Unlock()
		return ErrProven
	}
	p.lose(i)
	p.mu.Unlock()
	return p.note(i, slot{})
}
