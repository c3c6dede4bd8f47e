package store

import (
	"fmt"
	"path/filepath"
)

// Prove closes the chain: if the bytes that are in the file now link the IV to the digest,
// each link hashed by this store, the blob is proven. From then on nobody can change it,
// clients may read it, and Commit may put it in its place. Otherwise the error wraps
// ErrNotProven, and ErrMismatch if every chunk was hashed and another digest came out.
// It hashes nothing and touches no disk.
func (p *Partial) Prove() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed:
		return ErrClosed
	case p.proven, p.complete():
		p.proven = true
		return nil
	case p.next() == p.geometry.Chunks():
		return fmt.Errorf("%w: %w", ErrNotProven, ErrMismatch)
	default:
		return fmt.Errorf("%w: chunk %d continues no chain from the IV", ErrNotProven, p.next())
	}
}

// Commit puts a proven blob into its place, durably: its chain is written, its bytes are
// synced, its file is renamed and the folder is synced. From then on Store.Get finds it.
// On an error the blob stays proven and readable here; Commit may be tried again. The
// partial blob must be closed all the same.
func (p *Partial) Commit() error {
	p.committing.Lock()
	defer p.committing.Unlock()
	p.mu.Lock()
	proven, done, closed := p.proven, p.committed, p.closed
	if !closed {
		p.ops.Add(1)
	}
	p.mu.Unlock()
	if closed {
		return ErrClosed
	}
	defer p.ops.Done()
	switch {
	case done:
		return nil
	case !proven:
		return fmt.Errorf("commit blob %s: %w", p.digest.Short(), ErrNotProven)
	}
	if err := p.data.Sync(); err != nil { // the long part: before others are kept waiting
		return fmt.Errorf("commit blob %s: %w", p.digest.Short(), &DiskError{Op: "sync the blob", Err: err})
	}
	if err := p.place(); err != nil {
		return fmt.Errorf("commit blob %s: %w", p.digest.Short(), err)
	}
	return nil
}

// place moves the synced file into blobs/. The caller holds committing, and change only
// while the name changes: a folder's fsync can take long on a busy disk.
func (p *Partial) place() error {
	s, d := p.store, p.digest
	p.mu.Lock()
	renamed := p.renamed
	p.mu.Unlock()
	if !renamed {
		c, err := p.Chain()
		if err != nil {
			return err
		}
		if err := s.saveChain(d, p.geometry, c); err != nil {
			s.log.Warn("chain not kept", "blob", d.String(), "err", err) // it can be built again
		}
		if err := p.rename(); err != nil {
			return err
		}
	}
	if err := s.fs.SyncDir(s.blobsDir()); err != nil {
		return &DiskError{Op: "sync the folder of blobs", Err: err}
	}
	s.change.Lock()
	defer s.change.Unlock()
	s.add(d, p.geometry.Size())
	p.mu.Lock()
	p.committed = true
	p.mu.Unlock()
	s.mu.Lock()
	delete(s.live, d)
	s.mu.Unlock()
	s.clean(s.removePartial(d), "folder of a proven blob", d)
	return nil
}

func (p *Partial) rename() error {
	s := p.store
	if err := p.data.Chmod(0o444); err != nil {
		return &DiskError{Op: "make the blob read-only", Err: err}
	}
	s.change.Lock()
	defer s.change.Unlock()
	if err := s.fs.Rename(filepath.Join(s.partialDir(p.digest), dataName), s.blobPath(p.digest)); err != nil {
		return &DiskError{Op: "move the blob into its place", Err: err}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.renamed = true
	return nil
}
