package engine

import (
	"testing"
	"time"
)

// TestComingStands: only a chunk that has begun and then stood still is given up.
func TestComingStands(t *testing.T) {
	var c coming
	if c.stands(0) {
		t.Error("a chunk stands still that nobody sends")
	}
	c.begin(3)
	if c.stands(3) {
		t.Error("a chunk stands still that has just begun")
	}
	c.moved.Store(time.Now().Add(-time.Minute).UnixNano())
	if !c.stands(3) || c.stands(2) {
		t.Errorf("a minute later: chunk 3 stands %v, chunk 2 %v", c.stands(3), c.stands(2))
	}
	c.move()
	if c.stands(3) {
		t.Error("a chunk stands still whose bytes come")
	}
	c.moved.Store(0)
	c.end()
	if c.stands(3) {
		t.Error("a chunk stands still that is here")
	}
}
