package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/iotest"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/chain"
)

// someBlob has four chunks, the last one short.
func someBlob(t *testing.T) blobOf {
	t.Helper()
	content := make([]byte, 3*blob.MinChunk+5)
	for i := range content {
		content[i] = byte(i % 251)
	}
	b, err := newBlobOf(content)
	if err != nil || len(b.inner) != 3 {
		t.Fatalf("%d inner states, %v", len(b.inner), err)
	}
	return b
}

// What counts as the truth is the chain that leads to the blob's digest.
func TestTruth(t *testing.T) {
	content := someBlob(t).bytes
	digest := sha256.Sum256(content)
	name := hex.EncodeToString(digest[:])
	folder := filepath.Join(t.TempDir(), name[:2], name)
	if err := errors.Join(os.MkdirAll(folder, 0o750), os.WriteFile(filepath.Join(folder, "data"), content, 0o600)); err != nil {
		t.Fatal(err)
	}
	blobs, err := readTruth(filepath.Dir(filepath.Dir(folder)), []string{"sha256:" + name})
	if err != nil {
		t.Fatal(err)
	}
	b := blobs[blob.Digest(digest)]
	last := b.geometry.Last()
	after, err := chain.Next(b.geometry, last, b.inner[last-1], bytes.NewReader(b.chunk(last)), nil)
	if err != nil || after != chain.State(digest) {
		t.Errorf("the chain ends with %x, %v; the digest is %s", after, err, name)
	}
}

func TestWrongStatesCount(t *testing.T) {
	b := someBlob(t)
	for name, c := range map[string]struct {
		states []chain.State
		want   int64
	}{
		"right":         {b.inner, 0},
		"one byte":      {changed(b.inner, 1, 1), 1},
		"a whole state": {changed(b.inner, 2, len(chain.State{})), 32},
		"too short":     {b.inner[:2], 32},
		"too long":      {append(slices.Clone(b.inner), chain.IV()), 32},
		"none":          {nil, 96},
	} {
		if got := b.wrongIn(c.states); got != c.want {
			t.Errorf("%s: %d wrong bytes, want %d", name, got, c.want)
		}
	}
}

// changed is a copy of states in which so many bytes of state i are wrong.
func changed(states []chain.State, i, count int) []chain.State {
	states = slices.Clone(states)
	for at := range count {
		states[i][at] ^= 1
	}
	return states
}

func TestWrongBytesCount(t *testing.T) {
	right := someBlob(t).chunk(1)
	wrong := slices.Clone(right)
	wrong[0] ^= 1
	wrong[len(wrong)-1] ^= 1
	for name, c := range map[string]struct {
		body io.Reader
		want int64
		err  error
	}{
		"right":            {bytes.NewReader(right), 0, nil},
		"first and last":   {bytes.NewReader(wrong), 2, nil},
		"in small pieces":  {iotest.HalfReader(bytes.NewReader(wrong)), 2, nil},
		"wrong, then ends": {bytes.NewReader(wrong[:100]), 1, io.EOF},
	} {
		if got, err := compare(c.body, right); got != c.want || !errors.Is(err, c.err) {
			t.Errorf("%s: %d wrong bytes, %v; want %d, %v", name, got, err, c.want, c.err)
		}
	}
}
