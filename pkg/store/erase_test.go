package store_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/shoal-project/shoal/pkg/store"
)

func TestErase(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "shoal")
	if err := store.Erase(dir); err != nil {
		t.Errorf("a folder that is missing: %v", err)
	}
	s, err := store.Open(store.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	content := []byte("a manifest")
	if err := s.PutBytes(digestOf(content), content); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "tags.json"), content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := store.Erase(dir); !errors.Is(err, store.ErrLocked) {
		t.Errorf("in use: %v", err)
	}
	if _, err := s.GetBytes(digestOf(content), 100); err != nil {
		t.Errorf("what is in use is gone: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := store.Erase(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it is still there: %v", err)
	}
}

func TestEraseTouchesNothingOfOthers(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "letters")
	if err := os.WriteFile(name, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := store.Erase(dir); !errors.Is(err, store.ErrNoStore) {
		t.Error(err)
	}
	if _, err := os.Stat(name); err != nil {
		t.Error(err)
	}
}
