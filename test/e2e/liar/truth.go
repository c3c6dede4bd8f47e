package liar

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/chain"
)

// A truth is the blobs that the liar knows, in the folder where a registry keeps them. It
// is safe for concurrent use.
type truth struct {
	folder string

	mu    sync.Mutex
	blobs map[blob.Digest]*known
}

func newTruth(folder string) *truth {
	return &truth{folder: folder, blobs: make(map[blob.Digest]*known)}
}

// digests are those of all blobs that lie in the folder.
func (t *truth) digests() []blob.Digest {
	names, _ := filepath.Glob(filepath.Join(t.folder, "*", "*", "data")) // the pattern is right
	var all []blob.Digest
	for _, name := range names {
		if d, err := blob.ParseDigest("sha256:" + filepath.Base(filepath.Dir(name))); err == nil {
			all = append(all, d)
		}
	}
	return all
}

// of returns what is known of a blob, or nil.
func (t *truth) of(d blob.Digest, g blob.Geometry) *known {
	t.mu.Lock()
	defer t.mu.Unlock()
	if k := t.blobs[d]; k != nil {
		return k
	}
	hex := d.Hex()
	bytes, err := os.ReadFile(filepath.Join(t.folder, hex[:2], hex, "data")) //nolint:gosec // the lab's own file
	if err != nil || blob.ByteCount(len(bytes)) != g.Size() {
		return nil
	}
	k := &known{geometry: g, bytes: bytes}
	k.chain = sync.OnceValue(func() []chain.State { return k.inner(k.chunk) })
	k.forgedChain = sync.OnceValue(func() []chain.State { return k.inner(k.forged) })
	t.blobs[d] = k
	return k
}

// A known is a blob that the liar has. It does not change.
type known struct {
	geometry    blob.Geometry
	bytes       []byte
	chain       func() []chain.State // the inner states, of the blob as it is
	forgedChain func() []chain.State // and of the forged one
}

// chunk is what chunk i is.
func (k *known) chunk(i blob.ChunkIndex) []byte {
	at := k.geometry.Offset(i)
	return k.bytes[at : at+k.geometry.Length(i)]
}

// middle is the chunk where the forged blob ends and the true one goes on.
func (k *known) middle() blob.ChunkIndex { return (k.geometry.Last() + 1) / 2 }

// forged is chunk i of the liars' own blob: nothing but zeros up to its middle.
func (k *known) forged(i blob.ChunkIndex) []byte {
	if i >= k.middle() {
		return k.chunk(i)
	}
	return make([]byte, k.geometry.Length(i))
}

// inner hashes a blob up to its last chunk.
func (k *known) inner(chunk func(blob.ChunkIndex) []byte) []chain.State {
	states := make([]chain.State, 0, k.geometry.Last())
	state := chain.IV()
	for i := range k.geometry.Last() {
		next, err := chain.Next(k.geometry, i, state, io.Reader(bytes.NewReader(chunk(i))), nil)
		if err != nil {
			panic("liar: a chunk has another length than itself: " + err.Error())
		}
		state = next
		states = append(states, state)
	}
	return states
}
