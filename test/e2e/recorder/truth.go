package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/chain"
)

// A blobOf is one blob as it should be.
type blobOf struct {
	geometry blob.Geometry
	bytes    []byte
	inner    []chain.State // what a chain of it holds
}

// readTruth reads the blobs of the given digests.
func readTruth(folder string, digests []string) (map[blob.Digest]blobOf, error) {
	blobs := make(map[blob.Digest]blobOf)
	for _, text := range digests {
		d, err := blob.ParseDigest(text)
		if err != nil {
			return nil, err
		}
		hex := d.Hex()
		content, err := os.ReadFile(filepath.Join(folder, hex[:2], hex, "data")) //nolint:gosec // the lab's own file
		if err != nil {
			return nil, err
		}
		if blobs[d], err = newBlobOf(content); err != nil {
			return nil, err
		}
	}
	return blobs, nil
}

// newBlobOf hashes a blob up to its last chunk.
func newBlobOf(content []byte) (blobOf, error) {
	g, err := blob.NewGeometry(blob.ByteCount(len(content)))
	if err != nil {
		return blobOf{}, err
	}
	b := blobOf{geometry: g, bytes: content}
	state := chain.IV()
	for i := range g.Last() {
		if state, err = chain.Next(g, i, state, bytes.NewReader(b.chunk(i)), nil); err != nil {
			return blobOf{}, err
		}
		b.inner = append(b.inner, state)
	}
	return b, nil
}

// chunk is what chunk i is.
func (b blobOf) chunk(i blob.ChunkIndex) []byte {
	at := b.geometry.Offset(i)
	return b.bytes[at : at+b.geometry.Length(i)]
}

// wrongIn counts the bytes of a chain's states that differ from the right ones. A chain of
// another length, which no session lets through, is wrong in every state that is missing or too many.
func (b blobOf) wrongIn(states []chain.State) int64 {
	common := min(len(states), len(b.inner))
	wrong := int64(len(states)+len(b.inner)-2*common) * int64(len(chain.State{}))
	for i := range common {
		wrong += differing(states[i][:], b.inner[i][:])
	}
	return wrong
}

// compare counts the bytes of r that differ from the right ones.
func compare(r io.Reader, right []byte) (wrong int64, err error) {
	buffer := make([]byte, 32<<10)
	for len(right) > 0 {
		n, err := r.Read(buffer[:min(len(buffer), len(right))])
		wrong += differing(buffer[:n], right[:n])
		right = right[n:]
		if err != nil && len(right) > 0 {
			return wrong, err
		}
	}
	return wrong, nil
}

// differing counts the bytes in which two slices of one length differ.
func differing(got, right []byte) (count int64) {
	if bytes.Equal(got, right) {
		return 0
	}
	for i := range got {
		if got[i] != right[i] {
			count++
		}
	}
	return count
}
