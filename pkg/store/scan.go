package store

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"github.com/shoal-project/shoal/pkg/blob"
)

// scan lists what is on disk and removes what a crash left behind. What it does not know
// it leaves alone.
func (s *Store) scan() error {
	if err := s.scanBlobs(); err != nil {
		return err
	}
	if err := s.scanChains(); err != nil {
		return err
	}
	return s.scanPartials()
}

func (s *Store) scanBlobs() error {
	entries, err := s.list(s.blobsDir())
	if err != nil {
		return err
	}
	for _, found := range entries {
		d, ok := digestOf(found.Name())
		info, err := found.Info()
		if !ok || err != nil || !info.Mode().IsRegular() || info.Size() > int64(blob.MaxSize) {
			s.log.Warn("unknown file in the store", "folder", s.blobsDir(), "name", found.Name())
			continue
		}
		s.blobs[d] = &entry{size: blob.ByteCount(info.Size()), lastUsed: info.ModTime(), stamped: info.ModTime()}
	}
	return nil
}

// scanChains removes chains whose blob is not there.
func (s *Store) scanChains() error {
	entries, err := s.list(s.chainsDir())
	if err != nil {
		return err
	}
	for _, found := range entries {
		if d, ok := digestOf(found.Name()); ok && s.blobs[d] == nil {
			s.clean(s.fs.Remove(s.chainPath(d)), "chain without blob", d)
		}
	}
	return nil
}

// scanPartials lists the partial blobs that can be gone on with. One whose blob is proven
// must go before anybody writes to it: after some crashes both names stand for one file.
func (s *Store) scanPartials() error {
	entries, err := s.list(s.partialsDir())
	if err != nil {
		return err
	}
	for _, found := range entries {
		d, ok := digestOf(found.Name())
		if !ok {
			s.log.Warn("unknown file in the store", "folder", s.partialsDir(), "name", found.Name())
			continue
		}
		if s.blobs[d] != nil {
			s.clean(s.removePartial(d), "partial blob of a proven one", d)
			continue
		}
		idle, err := s.statPartial(d)
		if err != nil || idle.held == 0 {
			s.clean(s.removePartial(d), "partial blob without chunks", d)
			continue
		}
		s.idle[d] = idle
	}
	return nil
}

// statPartial reads what the state file of a partial blob claims. It checks no chunk.
func (s *Store) statPartial(d blob.Digest) (idlePartial, error) {
	h, slots, err := s.readState(d)
	if err != nil {
		return idlePartial{}, err
	}
	g, err := blob.NewGeometry(h.size)
	if err != nil {
		return idlePartial{}, fmt.Errorf("partial blob %s: %w", d.Short(), err)
	}
	idle := idlePartial{size: h.size}
	for i, slot := range slots {
		if slot.origin != 0 {
			idle.held += g.Length(blob.ChunkIndex(i))
		}
	}
	if h.size == 0 && slots[0].origin != 0 {
		idle.held = 1 // an empty chunk is something held too
	}
	files, err := s.fs.ReadDir(s.partialDir(d))
	if err != nil {
		return idlePartial{}, &DiskError{Op: "list a partial blob", Err: err}
	}
	for _, f := range files {
		if info, err := f.Info(); err == nil && info.ModTime().After(idle.lastUsed) {
			idle.lastUsed = info.ModTime()
		}
	}
	return idle, nil
}

// readState reads the state file of a partial blob.
func (s *Store) readState(d blob.Digest) (header, []slot, error) {
	p, err := s.readSmall(filepath.Join(s.partialDir(d), stateName), stateHeader+slotSize*int(blob.MaxSize/blob.MaxChunk))
	if err != nil {
		return header{}, nil, err
	}
	h, slots, err := decodeState(p)
	if err != nil {
		return header{}, nil, err
	}
	if h.digest != d {
		return header{}, nil, fmt.Errorf("%w: about another blob", errState)
	}
	return h, slots, nil
}

// list reads a folder of the store and removes its temporary files.
func (s *Store) list(dir string) ([]fs.DirEntry, error) {
	entries, err := s.fs.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("store folder %s cannot be read: %w", dir, err)
	}
	kept := entries[:0]
	for _, found := range entries {
		if strings.HasSuffix(found.Name(), tempSuffix) && found.Type().IsRegular() {
			s.clean(s.fs.Remove(filepath.Join(dir, found.Name())), "temporary file", blob.Digest{})
			continue
		}
		kept = append(kept, found)
	}
	return kept, nil
}

// clean logs what was cleaned up. That it failed is no reason not to start.
func (s *Store) clean(err error, what string, d blob.Digest) {
	if err != nil {
		s.log.Warn("leftover not removed", "what", what, "blob", d.String(), "err", err)
		return
	}
	s.log.Debug("leftover removed", "what", what, "blob", d.String())
}

// removeBlob forgets a proven blob and removes its files. The caller holds change.
func (s *Store) removeBlob(d blob.Digest) error {
	s.mu.Lock()
	delete(s.blobs, d)
	s.mu.Unlock()
	if err := s.removeFile(s.blobPath(d)); err != nil {
		return err
	}
	return s.removeFile(s.chainPath(d))
}

// removePartial removes the folder of a partial blob with everything in it.
func (s *Store) removePartial(d blob.Digest) error {
	dir := s.partialDir(d)
	files, err := s.fs.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return &DiskError{Op: "list a partial blob", Err: err}
	}
	for _, f := range files {
		if err := s.removeFile(filepath.Join(dir, f.Name())); err != nil {
			return err
		}
	}
	return s.removeFile(dir)
}

func (s *Store) removeFile(name string) error {
	if err := s.fs.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return &DiskError{Op: "remove a file of the store", Err: err}
	}
	return nil
}

// since is how long ago t was; a time in the future is just now.
func (s *Store) since(t time.Time) time.Duration { return max(0, s.cfg.Now().Sub(t)) }
