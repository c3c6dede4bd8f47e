package store_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/store"
)

// onDisk opens a store with one proven blob of four chunks, and tells where it is.
func onDisk(t *testing.T) (s *store.Store, of sample, path func(elem ...string) string, reopen func() *store.Store) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "store")
	path = func(elem ...string) string { return filepath.Join(append([]string{dir}, elem...)...) }
	s = open(t, store.Config{Dir: dir})
	of = newSample(t, 1, fourChunks)
	complete(t, s, of)
	return s, of, path, func() *store.Store {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = open(t, store.Config{Dir: dir})
		return s
	}
}

func spoil(t *testing.T, name string, change func(p []byte) []byte) {
	t.Helper()
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	p, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, change(p), info.Mode()); err != nil {
		t.Fatal(err)
	}
}

func flip(p []byte) []byte  { p[len(p)/2] ^= 1; return p }
func short(p []byte) []byte { return p[:len(p)-1] }

func TestFilesAreReadOnly(t *testing.T) {
	_, of, path, _ := onDisk(t)
	for name, want := range map[string]fs.FileMode{
		path("blobs", "sha256", of.digest.Hex()): 0o444, path(): fs.ModeDir | 0o700, path("partial"): fs.ModeDir | 0o700,
	} {
		if info, err := os.Stat(name); err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
	if entries, err := os.ReadDir(path("partial")); err != nil || len(entries) > 0 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

// Anything may be deleted or damaged, and the blob is there, or is not there; it is never
// another.
func TestDamage(t *testing.T) {
	for _, test := range []struct {
		name    string
		running bool // while the store is open
		damage  func(t *testing.T, path func(...string) string, hex string)
		kept    bool
	}{
		{"chain gone", true, func(t *testing.T, path func(...string) string, hex string) {
			t.Helper()
			if err := os.Remove(path("chains", hex)); err != nil {
				t.Fatal(err)
			}
		}, true},
		{"chains gone", false, func(t *testing.T, path func(...string) string, _ string) {
			t.Helper()
			if err := os.RemoveAll(path("chains")); err != nil {
				t.Fatal(err)
			}
		}, true},
		{"chain damaged", true, func(t *testing.T, path func(...string) string, hex string) {
			t.Helper()
			spoil(t, path("chains", hex), flip)
		}, true},
		{"blob gone", true, func(t *testing.T, path func(...string) string, hex string) {
			t.Helper()
			if err := os.Remove(path("blobs", "sha256", hex)); err != nil {
				t.Fatal(err)
			}
		}, false},
		{"all gone", false, func(t *testing.T, path func(...string) string, _ string) {
			t.Helper()
			if err := os.RemoveAll(path()); err != nil {
				t.Fatal(err)
			}
		}, false},
		{"blob short", true, func(t *testing.T, path func(...string) string, hex string) {
			t.Helper()
			spoil(t, path("blobs", "sha256", hex), short)
		}, false},
		{"blob short since before", false, func(t *testing.T, path func(...string) string, hex string) {
			t.Helper()
			spoil(t, path("blobs", "sha256", hex), short)
		}, false},
		{"blob is a folder", false, func(t *testing.T, path func(...string) string, hex string) {
			t.Helper()
			name := path("blobs", "sha256", hex)
			if err := errors.Join(os.Remove(name), os.Mkdir(name, 0o700)); err != nil {
				t.Fatal(err)
			}
		}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, of, path, reopen := onDisk(t)
			if !test.running {
				_ = s.Close()
			}
			test.damage(t, path, of.digest.Hex())
			if !test.running {
				s = reopen()
			}
			h, err := s.Get(of.digest)
			if test.kept {
				if err != nil {
					t.Fatal(err)
				}
				if c, err := h.Chain(); err != nil || c.Before(2) != of.chain.Before(2) {
					t.Fatal(err)
				}
				_ = h.Close()
				if _, err := os.Stat(path("chains", of.digest.Hex())); err != nil {
					t.Fatalf("chain not written again: %v", err)
				}
				return
			}
			if !errors.Is(err, store.ErrNotFound) {
				t.Fatalf("damaged blob: %v", err)
			}
			if has(s, of) {
				t.Fatal("damaged blob is listed")
			}
			if test.name != "blob is a folder" {
				complete(t, s, of)
			}
		})
	}
}

// Bytes that rotted in their place are found when the chain is built, and then dropped.
func TestRot(t *testing.T) {
	s, of, path, _ := onDisk(t)
	spoil(t, path("blobs", "sha256", of.digest.Hex()), flip)
	h, err := s.Get(of.digest)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = h.Close() }()
	if _, err := h.BuildChain(); !errors.Is(err, store.ErrMismatch) {
		t.Fatal(err)
	}
	if _, err := s.Get(of.digest); !errors.Is(err, store.ErrNotFound) {
		t.Fatal(err)
	}
	complete(t, s, of)
	if !bytes.Equal(readProven(t, s, of), of.content) {
		t.Fatal("wrong bytes")
	}

	content := []byte("a manifest")
	if err := s.PutBytes(digestOf(content), content); err != nil {
		t.Fatal(err)
	}
	spoil(t, path("blobs", "sha256", digestOf(content).Hex()), flip)
	for range 2 {
		if _, err := s.GetBytes(digestOf(content), 100); !errors.Is(err, store.ErrNotFound) {
			t.Fatal(err)
		}
	}
}

// A partial blob whose files were tampered with counts only what is still as it was.
func TestDamagedPartial(t *testing.T) {
	for name, test := range map[string]struct {
		file   string
		change func(p []byte) []byte
		held   []blob.ChunkIndex
	}{
		"untouched":     {"data", func(p []byte) []byte { return p }, []blob.ChunkIndex{0, 1, 3}},
		"chunk damaged": {"data", func(p []byte) []byte { p[blob.MinChunk+7] ^= 1; return p }, []blob.ChunkIndex{0, 3}},
		"data short":    {"data", short, []blob.ChunkIndex{0, 1}},
		"data long":     {"data", func(p []byte) []byte { return append(p, "tail"...) }, []blob.ChunkIndex{0, 1, 3}},
		"slot damaged":  {"state", func(p []byte) []byte { p[96+4] ^= 1; return p }, []blob.ChunkIndex{1, 3}},
		"state short":   {"state", func(p []byte) []byte { return p[:96+2*32+9] }, []blob.ChunkIndex{0, 1}},
		"state long":    {"state", func(p []byte) []byte { return append(p, make([]byte, 999)...) }, []blob.ChunkIndex{0, 1, 3}},
		"state garbage": {"state", func(p []byte) []byte { return bytes.Repeat([]byte{'x'}, len(p)) }, nil},
		"state of old":  {"state", func(p []byte) []byte { return restate(p, 2) }, nil},
		"state as new":  {"state", func(p []byte) []byte { return restate(p, 3) }, []blob.ChunkIndex{0, 1, 3}},
		"state empty":   {"state", func([]byte) []byte { return nil }, nil},
		"state huge":    {"state", func([]byte) []byte { return make([]byte, 4<<20) }, nil},
		"another key":   {"state", func(p []byte) []byte { p[50] ^= 1; return p }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			s, _, path, reopen := onDisk(t)
			of := newSample(t, 2, fourChunks)
			p := begin(t, s, of)
			for _, i := range []blob.ChunkIndex{0, 1, 3} {
				write(t, p, i, store.FromPeer, of.chunk(i))
			}
			_ = s.Close()
			spoil(t, path("partial", of.digest.Hex(), test.file), test.change)
			s = reopen()
			p = begin(t, s, of)
			_, _, q := p.States()
			want := blob.NewBitset(4)
			for _, i := range test.held {
				want.Add(i)
			}
			if !bytes.Equal(q.Bytes(), want.Bytes()) {
				t.Fatalf("held %v, want %v", set(q), test.held)
			}
			_ = p.Close()
			complete(t, s, of)
		})
	}
}

// restate gives a state file another version: with version 2, slots stood for other chunks.
func restate(p []byte, version byte) []byte {
	p[7] = version
	binary.BigEndian.PutUint32(p[64:], crc32.Checksum(p[:64], crc32.MakeTable(crc32.Castagnoli)))
	return p
}

func TestLeftoversAreCleaned(t *testing.T) {
	_, of, path, reopen := onDisk(t)
	other := strings.Repeat("ab", 32)
	for _, name := range []string{
		path("blobs", "sha256", other+".1.tmp"), path("chains", other), path("chains", "x.tmp"),
		path("partial", other, "data"), path("partial", of.digest.Hex(), "data"), path("partial", of.digest.Hex(), "state"),
	} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o700), os.WriteFile(name, []byte("x"), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	mine := path("blobs", "sha256", "README")
	if err := os.WriteFile(mine, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s := reopen()
	var left []string
	err := filepath.WalkDir(path(), func(name string, d fs.DirEntry, err error) error {
		if !d.IsDir() {
			left = append(left, strings.TrimPrefix(name, path()))
		}
		return err
	})
	if err != nil || len(left) != 4 { // blob, chain, lock, README
		t.Fatalf("left %q, %v", left, err)
	}
	if st := s.Stats(); st != (store.Stats{Blobs: 1, BlobBytes: fourChunks}) {
		t.Fatalf("%+v", st)
	}
}

// A folder that cannot be used is a sentence that names it.
func TestUnusableFolder(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Open(store.Config{Dir: file}); err == nil || !strings.Contains(err.Error(), "store folder "+file) {
		t.Fatalf("%v", err)
	}
	fsys := newCrashFS(1)
	for k := 1; ; k++ {
		fsys.restart(true)
		fsys.failAt, fsys.failFor, fsys.failure = k, 1, syscall.EROFS
		s, err := store.Open(store.Config{Dir: "/store", FS: fsys})
		if err == nil {
			_ = s.Close()
			break
		}
		if !errors.Is(err, syscall.EROFS) || !strings.HasPrefix(err.Error(), "store folder /store") {
			t.Fatalf("call %d: %v", k, err)
		}
	}
}

// A full disk is said to be one, costs the chunk, and does not stop the store.
func TestFullDisk(t *testing.T) {
	fsys := newCrashFS(1)
	s := open(t, store.Config{FS: fsys})
	of := newSample(t, 1, fourChunks)
	p := begin(t, s, of)
	fsys.calls, fsys.failAt, fsys.failFor, fsys.failure = 0, 1, 1<<30, syscall.ENOSPC
	err := p.WriteChunk(0, store.FromRegistry, bytes.NewReader(of.chunk(0)))
	if disk := (*store.DiskError)(nil); !errors.As(err, &disk) || !errors.Is(err, store.ErrDisk) || !errors.Is(err, store.ErrDiskFull) {
		t.Fatal(err)
	}
	if err := s.PutBytes(digestOf(nil), nil); !errors.Is(err, store.ErrDiskFull) {
		t.Fatal(err)
	}
	fsys.failure = syscall.EIO
	err = p.WriteChunk(0, store.FromRegistry, bytes.NewReader(of.chunk(0)))
	if !errors.Is(err, store.ErrDisk) || errors.Is(err, store.ErrDiskFull) {
		t.Fatal(err)
	}
	fsys.failAt = 0
	write(t, p, 0, store.FromRegistry, of.chunk(0))
}
