package content

import (
	"slices"
	"time"

	"github.com/shoal-project/shoal/pkg/blob"
)

// A state is how far a blob of the index is.
type state uint8

const (
	listed  state = iota // whether it was proven before is not known yet
	waiting              // to be hashed
	proven               // offered
	unfit                // its bytes are something else, or cannot be read: left alone until it changes
)

// An entry is one blob that containerd holds.
type entry struct {
	digest blob.Digest
	size   blob.ByteCount
	state  state
	file   identity  // proven and unfit: the file that was looked at; none where that failed
	since  time.Time // when it became known
}

// An index is what is known of containerd's blobs. It does no input or output. It is not
// safe for concurrent use: its owner locks.
type index struct {
	entries map[blob.Digest]*entry
	// Stacks of what is to be looked at; entries that are in another state by now are passed over.
	listed, waiting []blob.Digest
}

func newIndex() index { return index{entries: map[blob.Digest]*entry{}} }

// list takes a whole listing, the latest first, that was begun at a point in time, and returns
// what is not held any more. What came since then is not in it. The oldest is looked at first:
// whoever announces blobs drops the first when there are too many. What could not be looked at
// is tried again.
func (x *index) list(began time.Time, all []Held) (gone []blob.Digest) {
	named := make(map[blob.Digest]bool, len(all))
	for _, h := range all {
		named[h.Digest] = true
		x.add(began, h)
	}
	for d, e := range x.entries {
		switch {
		case !named[d] && !e.since.After(began):
			gone = append(gone, d)
			delete(x.entries, d)
		case e.state == unfit && e.file == identity{}:
			x.again(d)
		}
	}
	slices.SortFunc(gone, func(a, b blob.Digest) int { return slices.Compare(a[:], b[:]) })
	return gone
}

// add enters a blob, unless it is known.
func (x *index) add(now time.Time, h Held) {
	known := x.entries[h.Digest]
	if known != nil && known.size == h.Size || known == nil && len(x.entries) == HeldMax {
		return
	}
	if _, err := blob.NewGeometry(h.Size); err != nil {
		return
	}
	x.entries[h.Digest] = &entry{digest: h.Digest, size: h.Size, since: now}
	x.listed = append(x.listed, h.Digest)
}

// remove forgets a blob, and reports whether it was known.
func (x *index) remove(d blob.Digest) bool {
	known := x.entries[d] != nil
	delete(x.entries, d)
	return known
}

// again has a blob looked at anew.
func (x *index) again(d blob.Digest) {
	if e := x.entries[d]; e != nil {
		e.state = listed
		x.listed = append(x.listed, d)
	}
}

// wait has a blob hashed, before those that wait for longer: the latest is wanted most.
func (x *index) wait(d blob.Digest) {
	if e := x.entries[d]; e != nil {
		e.state = waiting
		x.waiting = append(x.waiting, d)
	}
}

// next takes the blob to look at now. Those of which a proof may be kept come before those
// to hash.
func (x *index) next() (entry, bool) {
	if e, ok := x.pop(&x.listed, listed); ok {
		return e, true
	}
	return x.pop(&x.waiting, waiting)
}

func (x *index) pop(from *[]blob.Digest, in state) (entry, bool) {
	for len(*from) > 0 {
		last := len(*from) - 1
		d := (*from)[last]
		*from = (*from)[:last]
		if e := x.entries[d]; e != nil && e.state == in {
			return *e, true
		}
	}
	return entry{}, false
}

// settle notes what a look at the file has shown, and reports false if the blob is gone, or
// another, by now.
func (x *index) settle(d blob.Digest, size blob.ByteCount, to state, file identity) bool {
	e := x.entries[d]
	if e == nil || e.size != size {
		return false
	}
	e.state, e.file = to, file
	return true
}
