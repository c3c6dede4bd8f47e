package content

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/shoal-project/shoal/pkg/blob"
)

// What containerd takes in is offered, and what it drops is withdrawn, as it says so.
func TestFollowsEvents(t *testing.T) {
	inBubble(t, func(k *kit) {
		defer k.start()()
		h, _ := k.put("a", threeChunks)
		k.tell(Created{Held: h})
		k.wantHeard("proven a")
		k.tell(Created{Held: h}) // it is known
		k.unlist(h)
		k.tell(Removed{Digest: h.Digest})
		k.wantHeard("gone a")
		k.wantNone(h)
		k.tell(Removed{Digest: h.Digest})
		k.wantHeard()
	})
}

// containerd 1.7 tells of no blobs, only of images.
func TestListsAfterAChangeOfImages(t *testing.T) {
	inBubble(t, func(k *kit) {
		defer k.start()()
		k.put("a", 10)
		for range 5 {
			k.tell(Changed{})
		}
		k.wantHeard()
		k.after(10 * time.Second)
		k.wantHeard("proven a")
		if k.runtime.listings() > 3 {
			t.Errorf("%d listings", k.runtime.listings())
		}
	})
}

// Garbage collection says nothing: the files are looked at.
func TestWithdrawsWhatVanished(t *testing.T) {
	inBubble(t, func(k *kit) {
		h, content := k.put("a", threeChunks)
		defer k.start()()
		b := k.get(h)
		k.wantHeard("proven a")
		k.remove(h)
		k.after(time.Minute)
		k.wantHeard("gone a")
		k.wantNone(h)

		// Who has it open goes on to the end.
		if r, err := b.Chunk(1); err != nil {
			t.Error(err)
		} else if p, err := io.ReadAll(r); err != nil || !bytes.Equal(p, content[blob.MinChunk:2*blob.MinChunk]) {
			t.Errorf("%d bytes, %v", len(p), err)
		}
		file, err := b.File()
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = file.Close() }()
		if p, err := io.ReadAll(file); err != nil || !bytes.Equal(p, content) {
			t.Errorf("%d bytes, %v", len(p), err)
		}
	})
}

// A blob that goes before anybody noticed is not found, and not offered any more.
func TestOpeningWhatVanished(t *testing.T) {
	inBubble(t, func(k *kit) {
		h, _ := k.put("a", 10)
		defer k.start()()
		k.heard()
		k.remove(h)
		k.wantNone(h)
		k.wantHeard("gone a")
	})
}

// After a restart of containerd everything is listed anew; meanwhile what is there stays.
func TestListsAnewAfterARestart(t *testing.T) {
	inBubble(t, func(k *kit) {
		stays, _ := k.put("stays", 10)
		goes, _ := k.put("goes", 10+1)
		defer k.start()()
		k.heard()
		k.runtime.set(func() { k.runtime.err = errors.New("connection refused") })
		k.runtime.end <- errors.New("stream ended")
		k.after(3 * time.Minute)
		k.wantHeard()
		k.get(stays)
		if s := k.content.Stats(); s.Lost == nil || s.Blobs != 2 {
			t.Errorf("%+v", s)
		}
		if k.runtime.listings() > 15 {
			t.Errorf("%d listings in three minutes without containerd", k.runtime.listings())
		}
		k.unlist(goes)
		k.put("comes", 12)
		k.runtime.set(func() { k.runtime.err = nil })
		k.after(time.Minute)
		k.wantHeard("gone goes", "proven comes")
		if s := k.content.Stats(); s.Lost != nil {
			t.Errorf("%+v", s)
		}
	})
}

// A blob that came while the listing was made is not lost because the listing lacks it.
func TestListingLacksWhatCameMeanwhile(t *testing.T) {
	inBubble(t, func(k *kit) {
		defer k.start()()
		k.runtime.set(func() {
			k.runtime.during = func() {
				k.runtime.set(func() { k.runtime.during = nil })
				time.Sleep(time.Millisecond) // of the bubble's clock
				h, _ := k.put("late", 10)
				k.runtime.events <- Created{Held: h}
			}
		})
		k.tell(Changed{})
		k.after(10 * time.Second)
		k.wantHeard("proven late")
	})
}

// Without the folder, or with one that this user may not read, nothing is offered.
func TestFolderCannotBeRead(t *testing.T) {
	inBubble(t, func(k *kit) {
		k.put("a", 10)
		hidden := filepath.Join(k.dir, "hidden")
		if err := os.Rename(filepath.Join(k.dir, "blobs"), hidden); err != nil {
			t.Fatal(err)
		}
		defer k.start()()
		k.after(time.Minute)
		if s := k.content.Stats(); !errors.Is(s.Lost, os.ErrNotExist) || k.runtime.listings() != 0 {
			t.Errorf("%+v, %d listings", s, k.runtime.listings())
		}
		if err := os.Rename(hidden, filepath.Join(k.dir, "blobs")); err != nil {
			t.Fatal(err)
		}
		k.after(2 * time.Minute)
		k.wantHeard("proven a")
	})
}
