package store_test

import (
	"bytes"
	"path/filepath"
	"testing"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/store"
)

// benchSize gives chunks of 128 KiB.
const benchSize = 256 * blob.MiB

func benchPartial(b *testing.B) (*store.Store, *store.Partial, sample) {
	b.Helper()
	s := open(b, store.Config{Dir: filepath.Join(b.TempDir(), "store"), MaxBytes: blob.GiB})
	of := newSample(b, 1, benchSize)
	return s, begin(b, s, of), of
}

func BenchmarkWriteChunk(b *testing.B) {
	_, p, of := benchPartial(b)
	b.SetBytes(int64(of.geometry.ChunkSize()))
	i := blob.ChunkIndex(0)
	for b.Loop() {
		write(b, p, i, store.FromPeer, of.chunk(i))
		if err := p.Drop(i); err != nil {
			b.Fatal(err)
		}
		i = (i + 1) % of.geometry.Chunks()
	}
}

func BenchmarkCheckLink(b *testing.B) {
	_, p, of := benchPartial(b)
	write(b, p, 7, store.FromPeer, of.chunk(7))
	b.SetBytes(int64(of.geometry.ChunkSize()))
	for b.Loop() {
		if _, err := p.CheckLink(7, of.chain); err != nil {
			b.Fatal(err)
		}
		p.DropLinks()
	}
}

func BenchmarkCheckLinkParallel(b *testing.B) {
	_, p, of := benchPartial(b)
	write(b, p, 7, store.FromPeer, of.chunk(7))
	b.SetBytes(int64(of.geometry.ChunkSize()))
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := p.CheckLink(7, of.chain); err != nil {
				b.Error(err)
			}
			p.DropLinks()
		}
	})
}

func BenchmarkReplaceSame(b *testing.B) {
	_, p, of := benchPartial(b)
	write(b, p, 7, store.FromPeer, of.chunk(7))
	b.SetBytes(int64(of.geometry.ChunkSize()))
	for b.Loop() {
		if same, err := p.Replace(7, bytes.NewReader(of.chunk(7))); err != nil || !same {
			b.Fatal(same, err)
		}
	}
}

func BenchmarkResume(b *testing.B) {
	s, p, of := benchPartial(b)
	for i := range of.geometry.Chunks() {
		write(b, p, i, store.FromPeer, of.chunk(i))
	}
	b.SetBytes(int64(of.geometry.Size()))
	for b.Loop() {
		if err := p.Close(); err != nil {
			b.Fatal(err)
		}
		p = begin(b, s, of)
	}
}
