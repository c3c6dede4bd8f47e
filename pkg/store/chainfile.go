package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/chain"
)

// A chain file holds the inner states of a proven blob's chain, and the blob's size:
//
//	magic 8 | digest 32 | size 8 | inner states 32 each | CRC-32C 4
const (
	chainMagic  = "shoalch\x01"
	chainFrame  = len(chainMagic) + 32 + 8 + 4
	maxChainLen = chainFrame + 32*int(blob.MaxSize/blob.MaxChunk)
)

func encodeChain(d blob.Digest, g blob.Geometry, inner []chain.State) []byte {
	p := make([]byte, 0, chainFrame+32*len(inner))
	p = append(p, chainMagic...)
	p = append(p, d[:]...)
	p = binary.BigEndian.AppendUint64(p, uint64(g.Size()))
	for _, s := range inner {
		p = append(p, s[:]...)
	}
	return binary.BigEndian.AppendUint32(p, castagnoli(p))
}

// decodeChain reads a chain file about blob d. Errors wrap errChain.
func decodeChain(p []byte, d blob.Digest) (blob.Geometry, chain.Chain, error) {
	var g blob.Geometry
	if len(p) < chainFrame || len(p) > maxChainLen || string(p[:len(chainMagic)]) != chainMagic {
		return g, chain.Chain{}, fmt.Errorf("%w: no header", errChain)
	}
	body := p[:len(p)-4]
	if binary.BigEndian.Uint32(p[len(body):]) != castagnoli(body) {
		return g, chain.Chain{}, fmt.Errorf("%w: damaged", errChain)
	}
	body = body[len(chainMagic):]
	if blob.Digest(body[:32]) != d {
		return g, chain.Chain{}, fmt.Errorf("%w: about another blob", errChain)
	}
	g, err := blob.NewGeometry(blob.ByteCount(binary.BigEndian.Uint64(body[32:])))
	if err != nil {
		return g, chain.Chain{}, fmt.Errorf("%w: %w", errChain, err)
	}
	states := body[40:]
	if len(states) != 32*int(g.Last()) {
		return g, chain.Chain{}, fmt.Errorf("%w: %d bytes of states for %d chunks", errChain, len(states), g.Chunks())
	}
	inner := make([]chain.State, g.Last())
	for i := range inner {
		inner[i] = chain.State(states[32*i:])
	}
	c, err := chain.New(g, d, inner)
	if err != nil {
		return g, chain.Chain{}, fmt.Errorf("%w: %w", errChain, err)
	}
	return g, c, nil
}

// loadChain reads the chain file of d. The size in it is what the blob's size must be.
func (s *Store) loadChain(d blob.Digest) (blob.Geometry, chain.Chain, error) {
	p, err := s.readSmall(s.chainPath(d), maxChainLen)
	if err != nil {
		return blob.Geometry{}, chain.Chain{}, err
	}
	return decodeChain(p, d)
}

// saveChain writes the chain file of d. A blob of one chunk needs none.
func (s *Store) saveChain(d blob.Digest, g blob.Geometry, c chain.Chain) error {
	if g.Last() == 0 {
		return nil
	}
	return s.writeInPlace(s.chainPath(d), encodeChain(d, g, c.Inner()), 0o600)
}

// readSmall reads a file of at most limit bytes whole. A missing one is fs.ErrNotExist.
func (s *Store) readSmall(name string, limit int) ([]byte, error) {
	f, err := s.fs.OpenFile(name, os.O_RDONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err != nil {
		return nil, &DiskError{Op: "open a file of the store", Err: err}
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, &DiskError{Op: "read a file of the store", Err: err}
	}
	if info.Size() > int64(limit) {
		return nil, fmt.Errorf("%w: %d bytes", ErrTooLarge, info.Size())
	}
	p := make([]byte, info.Size())
	if n, err := f.ReadAt(p, 0); n < len(p) {
		return nil, &DiskError{Op: "read a file of the store", Err: err}
	}
	return p, nil
}

// writeInPlace writes a file whole or not at all, and durably: temporary file, fsync,
// rename, fsync of the folder. The caller does not hold change.
func (s *Store) writeInPlace(name string, content []byte, perm fs.FileMode) error {
	temp := fmt.Sprintf("%s.%d%s", name, s.temps.Add(1), tempSuffix)
	err := s.writeTemp(temp, content, perm)
	if err == nil {
		s.change.Lock() // a removal of the same name ends first
		err = s.fs.Rename(temp, name)
		s.change.Unlock()
	}
	if err != nil {
		_ = s.fs.Remove(temp)
		return &DiskError{Op: "write a file of the store", Err: err}
	}
	if err := s.fs.SyncDir(parent(name)); err != nil {
		return &DiskError{Op: "sync a folder of the store", Err: err}
	}
	return nil
}

func (s *Store) writeTemp(temp string, content []byte, perm fs.FileMode) error {
	f, err := s.fs.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if _, err := f.WriteAt(content, 0); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := f.Sync(); err != nil {
		return errors.Join(err, f.Close())
	}
	return errors.Join(f.Chmod(perm), f.Close())
}
