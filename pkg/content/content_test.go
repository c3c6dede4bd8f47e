package content

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/chain"
)

// Whatever containerd holds is hashed and then offered, the latest first.
func TestOffersWhatIsHeld(t *testing.T) {
	inBubble(t, func(k *kit) {
		old, content := k.put("old", threeChunks)
		k.put("empty", 0)
		k.put("new", 10)
		defer k.start()()
		k.wantHeard("proven new", "proven empty", "proven old")
		b := k.get(old)
		c, err := b.Chain()
		if err != nil || b.Geometry().Size() != threeChunks || len(c.Inner()) != 2 {
			t.Errorf("%d bytes, %d inner states, %v", b.Geometry().Size(), len(c.Inner()), err)
		}
		var all bytes.Buffer
		for i := range b.Geometry().Chunks() {
			r, err := b.Chunk(i)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := all.ReadFrom(r); err != nil {
				t.Fatal(err)
			}
			if after, err := chain.Next(b.Geometry(), i, c.Before(i), bytes.NewReader(all.Bytes()[b.Geometry().Offset(i):]), nil); err != nil || after != c.After(i) {
				t.Errorf("link %d: %v", i, err)
			}
		}
		if !bytes.Equal(all.Bytes(), content) {
			t.Error("the chunks are something else")
		}
		file, err := b.File()
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = file.Close() }()
		if got, err := io.ReadAll(file); err != nil || !bytes.Equal(got, content) {
			t.Errorf("the file has %d bytes, %v", len(got), err)
		}
		if got, err := k.content.Bytes(old.Digest, threeChunks); err != nil || !bytes.Equal(got, content) {
			t.Errorf("Bytes: %d, %v", len(got), err)
		}
		if _, err := k.content.Bytes(old.Digest, threeChunks-1); !errors.Is(err, ErrNotHeld) {
			t.Errorf("Bytes above the limit: %v", err)
		}
		want := Stats{Blobs: 3, BlobBytes: threeChunks + 10}
		if s := k.content.Stats(); s != want || len(k.content.List()) != 3 {
			t.Errorf("%+v, listed %d", s, len(k.content.List()))
		}
	})
}

// A file that is not what its name says is never offered, until another stands there.
func TestWrongBytesAreNotOffered(t *testing.T) {
	inBubble(t, func(k *kit) {
		wrong, content := k.put("wrong", threeChunks)
		short, shorter := k.put("short", threeChunks)
		link, target := k.put("link", 100)
		flipped := bytes.Clone(content)
		flipped[blob.MinChunk+1] ^= 1
		k.write(wrong, flipped)
		k.write(short, shorter[1:])
		k.remove(link)
		elsewhere := filepath.Join(k.dir, "elsewhere")
		if err := errors.Join(os.WriteFile(elsewhere, target, 0o400), os.Symlink(elsewhere, k.path(link))); err != nil {
			t.Fatal(err)
		}
		defer k.start()()
		k.wantHeard()
		for _, h := range []Held{wrong, short, link} {
			k.wantNone(h)
		}
		k.after(time.Minute)
		if s := k.content.Stats(); s.Blobs != 0 || s.Waiting != 0 {
			t.Errorf("they are hashed again and again: %+v", s)
		}
		k.write(wrong, content) // the pull was repeated
		k.after(time.Minute)
		k.wantHeard("proven wrong")
	})
}

// What changes after it was proven is withdrawn when somebody opens it, and offered again once
// it was hashed anew.
func TestTamperedFileIsWithdrawn(t *testing.T) {
	inBubble(t, func(k *kit) {
		h, content := k.put("a", threeChunks)
		defer k.start()()
		b := k.get(h)
		k.wantHeard("proven a")
		if err := os.Chmod(k.path(h), 0o600); err != nil {
			t.Fatal(err)
		}
		flipped := bytes.Clone(content)
		flipped[5] ^= 1
		if err := os.WriteFile(k.path(h), flipped, 0o600); err != nil {
			t.Fatal(err)
		}
		p := make([]byte, 10)
		if n, err := b.ReadAt(p, 0); n != 0 || !errors.Is(err, ErrSpoiled) {
			t.Errorf("ReadAt gave %d bytes, %v", n, err)
		}
		if f, err := b.File(); !errors.Is(err, ErrSpoiled) {
			_ = f.Close()
			t.Errorf("File: %v", err)
		}
		synctest.Wait()
		k.wantHeard("gone a")
		k.wantNone(h)
		k.write(h, content)
		k.after(time.Minute)
		k.wantHeard("proven a")
		k.get(h)
	})
}

// Even where the file looks untouched, no wrong byte goes to a peer.
func TestChunkIsHashedBeforeItIsSent(t *testing.T) {
	inBubble(t, func(k *kit) {
		h, content := k.put("a", threeChunks)
		defer k.start()()
		b := k.get(h)
		flipped := bytes.Clone(content)
		flipped[blob.MinChunk] ^= 1
		if err := errors.Join(os.Chmod(k.path(h), 0o600), os.WriteFile(k.path(h), flipped, 0o600)); err != nil {
			t.Fatal(err)
		}
		// As if the clock had been set back: the file system shows nothing.
		id, _, err := identify(b.file)
		if err != nil {
			t.Fatal(err)
		}
		b.proof.file = id
		if err := b.unchanged(); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Chunk(0); err != nil {
			t.Errorf("chunk 0 is as it was: %v", err)
		}
		if _, err := b.Chunk(1); !errors.Is(err, ErrSpoiled) {
			t.Errorf("chunk 1: %v", err)
		}
		k.wantNone(h)
	})
}

// A restart hashes nothing that is still the same.
func TestProofSurvivesARestart(t *testing.T) {
	inBubble(t, func(k *kit) {
		k.rate = blob.MinChunk
		same, _ := k.put("same", threeChunks)
		other, bytesOfOther := k.put("other", threeChunks)
		stop := k.start()
		k.after(time.Minute)
		stop()
		k.heard()
		k.write(other, bytesOfOther) // the same bytes in another file
		defer k.start()()
		k.wantHeard("proven same")
		k.get(same)
		k.wantNone(other)
		k.after(time.Minute)
		k.wantHeard("proven other")
	})
}

// A proof that does not read as one, or is about another blob, proves nothing.
func TestDamagedProofProvesNothing(t *testing.T) {
	inBubble(t, func(k *kit) {
		h, _ := k.put("a", threeChunks)
		o, _ := k.put("b", threeChunks)
		k.start()()
		whole, err := os.ReadFile(filepath.Join(k.state, h.Digest.Hex()))
		if err != nil {
			t.Fatal(err)
		}
		for at := range len(whole) {
			damaged := bytes.Clone(whole)
			damaged[at] ^= 4
			if _, err := decodeProof(damaged, h.Digest); !errors.Is(err, errProof) {
				t.Fatalf("byte %d: %v", at, err)
			}
		}
		for n := range len(whole) {
			if _, err := decodeProof(whole[:n], h.Digest); !errors.Is(err, errProof) {
				t.Fatalf("%d bytes: %v", n, err)
			}
		}
		if _, err := decodeProof(whole, o.Digest); !errors.Is(err, errProof) {
			t.Errorf("about another: %v", err)
		}
		if p, err := decodeProof(whole, h.Digest); err != nil || !bytes.Equal(encodeProof(h.Digest, p), whole) {
			t.Errorf("%+v, %v", p.file, err)
		}
	})
}

// Whatever lies in the folder of proofs is read without a panic, and what reads as a proof is
// written the same again.
func FuzzProof(f *testing.F) {
	d := blob.Digest{1}
	g, err := blob.NewGeometry(threeChunks)
	if err != nil {
		f.Fatal(err)
	}
	c, err := chain.New(g, d, make([]chain.State, g.Last()))
	if err != nil {
		f.Fatal(err)
	}
	whole := encodeProof(d, proof{file: identity{inode: 1, size: int64(threeChunks), modified: 2, changed: 3}, chain: c})
	f.Add(whole)
	f.Add(whole[:proofFrame])
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) > 4 { // or nothing gets past the checksum
			in = binary.BigEndian.AppendUint32(in[:len(in)-4:len(in)-4], checksum(in[:len(in)-4]))
		}
		p, err := decodeProof(in, d)
		if err != nil && !errors.Is(err, errProof) {
			t.Error(err)
		}
		if err == nil && !bytes.Equal(encodeProof(d, p), in) {
			t.Errorf("%+v is written in another way", p.file)
		}
	})
}

// What a proof was kept of is forgotten with the blob.
func TestProofsGoWithTheirBlobs(t *testing.T) {
	inBubble(t, func(k *kit) {
		one, _ := k.put("one", 10)
		two, _ := k.put("two", 20)
		three, _ := k.put("three", 30)
		stop := k.start()
		k.remove(one)
		k.after(time.Minute)
		if _, err := os.Stat(filepath.Join(k.state, one.Digest.Hex())); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the proof of a blob that went: %v", err)
		}
		stop()
		k.remove(two)
		k.unlist(two)
		if err := os.WriteFile(filepath.Join(k.state, ".new-1"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		defer k.start()()
		left, err := os.ReadDir(k.state)
		if err != nil || len(left) != 1 || left[0].Name() != three.Digest.Hex() {
			t.Errorf("%v, %v", left, err)
		}
	})
}

// The rate is kept.
func TestRate(t *testing.T) {
	inBubble(t, func(k *kit) {
		k.rate = blob.MiB
		k.put("a", 10*blob.MiB)
		began := time.Now()
		defer k.start()()
		for len(k.heard()) == 0 {
			k.after(100 * time.Millisecond)
		}
		if took := time.Since(began); took < 9*time.Second || took > 11*time.Second {
			t.Errorf("10 MiB at 1 MiB/s took %v", took)
		}
	})
}

func TestKept(t *testing.T) {
	inBubble(t, func(k *kit) {
		h, _ := k.put("a", 10)
		defer k.start()()
		if k.content.Kept(h.Digest, time.Minute) {
			t.Error("it has only come")
		}
		k.after(time.Minute)
		if !k.content.Kept(h.Digest, time.Minute) || k.content.Kept(h.Digest, time.Hour) || k.content.Kept(blob.Digest{1}, 0) {
			t.Error("it has been there for a minute")
		}
	})
}

func TestValidate(t *testing.T) {
	good := Config{Dir: "/a", StateDir: "/b", Runtime: newRuntime()}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	for _, spoil := range []func(*Config){
		func(c *Config) { c.Dir = "a" }, func(c *Config) { c.StateDir = "" }, func(c *Config) { c.Runtime = nil }, func(c *Config) { c.Rate = -1 },
	} {
		c := good
		spoil(&c)
		if _, err := New(c); err == nil {
			t.Errorf("%+v is accepted", c)
		}
	}
}
