package chain

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"testing"

	"github.com/shoal-project/shoal/pkg/blob"
)

// chunksBenched are one chunk each of the smallest and the largest geometry.
func chunksBenched(b *testing.B, newLoop func(g blob.Geometry, p []byte) func(*testing.PB)) {
	b.Helper()
	for _, size := range []blob.ByteCount{2 * blob.MinChunk, 16 * blob.GiB} {
		g := geometry(b, size)
		b.Run(fmt.Sprintf("%dKiB", g.ChunkSize()/blob.KiB), func(b *testing.B) {
			b.SetBytes(int64(g.ChunkSize()))
			b.ReportAllocs()
			b.RunParallel(newLoop(g, content(g.ChunkSize(), 1)))
		})
	}
}

// BenchmarkNext and BenchmarkSHA256 hash the same bytes, on as many cores as -cpu says; the
// difference is what the chain costs.
func BenchmarkNext(b *testing.B) {
	chunksBenched(b, func(g blob.Geometry, p []byte) func(*testing.PB) {
		return func(pb *testing.PB) {
			buf := make([]byte, 128<<10) // as the store has it
			for r := bytes.NewReader(p); pb.Next(); r.Reset(p) {
				if _, err := Next(g, 0, IV(), r, buf); err != nil {
					b.Error(err)
				}
			}
		}
	})
}

func BenchmarkSHA256(b *testing.B) {
	chunksBenched(b, func(_ blob.Geometry, p []byte) func(*testing.PB) {
		return func(pb *testing.PB) {
			for h := sha256.New(); pb.Next(); h.Reset() {
				h.Write(p)
				h.Sum(nil)
			}
		}
	})
}
