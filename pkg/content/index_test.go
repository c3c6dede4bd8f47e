package content

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/shoal-project/shoal/pkg/blob"
)

// A slowIndex is what an index should do, by looking at everything each time.
type slowIndex struct {
	now  time.Time
	held map[Held]*slowEntry
	turn int
}

type slowEntry struct {
	state state
	since time.Time
	turn  int // of the latest push onto a stack
}

func (s *slowIndex) push(e *slowEntry, to state) {
	s.turn++
	e.state, e.turn = to, s.turn
}

func (s *slowIndex) add(h Held) {
	if s.held[h] == nil {
		s.held[h] = &slowEntry{since: s.now}
		s.push(s.held[h], listed)
	}
}

// next is the entry pushed last, of those that are only listed if there are any.
func (s *slowIndex) next() (best Held, found bool) {
	for _, in := range []state{listed, waiting} {
		for h, e := range s.held {
			if e.state == in && (!found || e.turn > s.held[best].turn) {
				best, found = h, true
			}
		}
		if found {
			return best, true
		}
	}
	return Held{}, false
}

func held(n int) Held { return Held{Digest: blob.Digest{byte(n)}, Size: blob.ByteCount(n)} }

// The index hands out the same blobs in the same order as one that looks at everything.
func TestIndexAgreesWithASlowOne(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x, slow := newIndex(), &slowIndex{now: time.Unix(1000, 0), held: map[Held]*slowEntry{}}
		one := rapid.IntRange(0, 9)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			slow.now = slow.now.Add(time.Second)
			h := held(one.Draw(t, "blob"))
			switch op := rapid.SampledFrom([]string{"add", "list", "remove", "next", "wait", "settle", "again"}).Draw(t, "op"); op {
			case "add":
				x.add(slow.now, h)
				slow.add(h)
			case "list":
				began := slow.now.Add(-time.Duration(rapid.IntRange(0, 3).Draw(t, "ago")) * time.Second)
				var all, want []Held
				for n := range 10 {
					if rapid.Bool().Draw(t, fmt.Sprint(n)) {
						all = append(all, held(n))
					}
				}
				gone := x.list(began, all)
				slow.now, began = began, slow.now
				for _, h := range all {
					slow.add(h)
				}
				slow.now, began = began, slow.now
				for h, e := range slow.held {
					if !slices.Contains(all, h) && !e.since.After(began) {
						want = append(want, h)
						delete(slow.held, h)
					}
				}
				if len(gone) != len(want) || slices.ContainsFunc(want, func(h Held) bool { return !slices.Contains(gone, h.Digest) }) {
					t.Fatalf("gone %v, want %v", gone, want)
				}
			case "remove":
				if x.remove(h.Digest) != (slow.held[h] != nil) {
					t.Fatal("remove does not know what there is")
				}
				delete(slow.held, h)
			case "next":
				e, ok := x.next()
				want, wantOK := slow.next()
				if ok != wantOK || ok && (e.digest != want.Digest || e.state != slow.held[want].state) {
					t.Fatalf("next is %v, %v; want %v, %v", e, ok, want, wantOK)
				}
				if ok {
					slow.held[want].state = proven // out of both stacks
					x.settle(want.Digest, want.Size, proven, identity{inode: 1})
				}
			case "wait":
				x.wait(h.Digest)
				if e := slow.held[h]; e != nil {
					slow.push(e, waiting)
				}
			case "again":
				x.again(h.Digest)
				if e := slow.held[h]; e != nil {
					slow.push(e, listed)
				}
			case "settle":
				if x.settle(h.Digest, h.Size, unfit, identity{inode: 1}) != (slow.held[h] != nil) || x.settle(h.Digest, h.Size+1, proven, identity{}) {
					t.Fatal("settle does not know what there is")
				}
				if e := slow.held[h]; e != nil {
					e.state = unfit
				}
			}
		}
	})
}

// However much containerd says that it holds, so much is remembered.
func TestIndexIsBounded(t *testing.T) {
	x := newIndex()
	all := make([]Held, HeldMax+10)
	for n := range all {
		all[n] = Held{Digest: blob.Digest{byte(n), byte(n >> 8), byte(n >> 16)}, Size: 1}
	}
	x.list(time.Unix(1, 0), all)
	x.add(time.Unix(2, 0), Held{Digest: blob.Digest{31: 1}, Size: 1})
	if len(x.entries) != HeldMax || len(x.listed) != HeldMax {
		t.Errorf("%d entries, %d to look at", len(x.entries), len(x.listed))
	}
}

func TestIndexTakesNoImpossibleSize(t *testing.T) {
	x := newIndex()
	for _, size := range []blob.ByteCount{-1, blob.MaxSize + 1} {
		x.add(time.Unix(1, 0), Held{Digest: blob.Digest{1}, Size: size})
	}
	if len(x.entries) != 0 {
		t.Errorf("%v", x.entries)
	}
}

// What could not be looked at is tried again with the next listing, what is wrong is not.
func TestIndexTriesAgain(t *testing.T) {
	x := newIndex()
	x.list(time.Unix(1, 0), []Held{held(1), held(2)})
	for range 2 {
		x.next()
	}
	x.settle(held(1).Digest, 1, unfit, identity{})
	x.settle(held(2).Digest, 2, unfit, identity{inode: 7})
	x.list(time.Unix(2, 0), []Held{held(1), held(2)})
	if e, ok := x.next(); !ok || e.digest != held(1).Digest {
		t.Errorf("%v, %v", e, ok)
	}
	if e, ok := x.next(); ok {
		t.Errorf("%v", e)
	}
}
