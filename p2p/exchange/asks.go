package exchange

import (
	"fmt"

	"github.com/shoal-project/shoal/pkg/blob"
)

// MaxAsks is how many asks in one direction of a session may be without an answer.
const MaxAsks = 64

// asks keeps the book of who asked for what. Each Ask has exactly one answer, a Chunk or a
// Busy: a Cancel that comes in time is answered Busy, and one that crossed with the answer not
// at all. So answers can be told apart although a chunk is cancelled and asked for again, and
// one too many was not asked for. Whoever answers forgets an ask before the asker can: an asker
// who keeps to MaxAsks never exceeds it at the other end.
type asks struct {
	wanted map[blob.ChunkIndex]struct{} // this node asked, and did not cancel
	owed   map[blob.ChunkIndex]int      // answers that this node has still to get
	theirs map[blob.ChunkIndex]bool     // the peer asked, and waits; whether the chunk is queued
}

func newAsks() asks {
	return asks{
		wanted: map[blob.ChunkIndex]struct{}{},
		owed:   map[blob.ChunkIndex]int{},
		theirs: map[blob.ChunkIndex]bool{},
	}
}

// ask notes an Ask of this node, and reports whether it must go out.
func (a *asks) ask(i blob.ChunkIndex) (bool, error) {
	if _, ok := a.wanted[i]; ok {
		return false, nil
	}
	if len(a.wanted) >= MaxAsks {
		return false, ErrTooManyAsks
	}
	a.wanted[i] = struct{}{}
	a.owed[i]++
	return true, nil
}

// cancel notes a Cancel of this node, and reports whether there is something to cancel.
func (a *asks) cancel(i blob.ChunkIndex) bool {
	_, ok := a.wanted[i]
	delete(a.wanted, i)
	return ok
}

// unsent takes back an Ask that never went out.
func (a *asks) unsent(i blob.ChunkIndex) {
	delete(a.wanted, i)
	a.settle(i)
}

func (a *asks) settle(i blob.ChunkIndex) {
	if a.owed[i]--; a.owed[i] == 0 {
		delete(a.owed, i)
	}
}

// answered notes a peer's answer, and reports whether it is to an ask that was not cancelled.
// It returns an error if nobody asked.
func (a *asks) answered(i blob.ChunkIndex) (bool, error) {
	if a.owed[i] == 0 {
		return false, fmt.Errorf("answered an ask for chunk %d that was never made", i)
	}
	a.settle(i)
	if a.owed[i] > 0 {
		return false, nil // another answer is to come, and that is to the latest ask
	}
	return a.cancel(i), nil
}

// asked notes a peer's Ask.
func (a *asks) asked(i blob.ChunkIndex) error {
	if _, ok := a.theirs[i]; ok {
		return fmt.Errorf("asked for chunk %d twice", i)
	}
	if len(a.theirs) >= MaxAsks {
		return fmt.Errorf("asked for more than %d chunks at once", MaxAsks)
	}
	a.theirs[i] = false
	return nil
}

// answer notes that the peer's ask is being answered, or reports that it does not wait.
func (a *asks) answer(i blob.ChunkIndex) bool {
	_, waits := a.theirs[i]
	delete(a.theirs, i)
	return waits
}
