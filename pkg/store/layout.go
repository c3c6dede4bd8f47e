package store

import (
	"path/filepath"

	"github.com/shoal-project/shoal/pkg/blob"
)

// tempSuffix marks files that were not yet renamed into place.
const tempSuffix = ".tmp"

func (s *Store) blobsDir() string    { return filepath.Join(s.cfg.Dir, "blobs", "sha256") }
func (s *Store) chainsDir() string   { return filepath.Join(s.cfg.Dir, "chains") }
func (s *Store) partialsDir() string { return filepath.Join(s.cfg.Dir, "partial") }

func (s *Store) blobPath(d blob.Digest) string   { return filepath.Join(s.blobsDir(), d.Hex()) }
func (s *Store) chainPath(d blob.Digest) string  { return filepath.Join(s.chainsDir(), d.Hex()) }
func (s *Store) partialDir(d blob.Digest) string { return filepath.Join(s.partialsDir(), d.Hex()) }

const (
	dataName  = "data"
	stateName = "state"
)

func parent(name string) string { return filepath.Dir(name) }

// digestOf reads a file name of the store.
func digestOf(name string) (blob.Digest, bool) {
	d, err := blob.ParseDigest("sha256:" + name)
	return d, err == nil
}
