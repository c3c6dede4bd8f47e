package discovery

import (
	"testing"
	"time"
)

func TestPatience(t *testing.T) {
	var p patience
	if p.now() != firstPatience {
		t.Errorf("before any answer it is %v", p.now())
	}
	for range 20 {
		p.took(2 * time.Millisecond)
	}
	if p.now() != leastPatience {
		t.Errorf("with quick answers it is %v", p.now())
	}
	for range 20 {
		p.took(300 * time.Millisecond)
	}
	if p.now() < 300*time.Millisecond || p.now() > mostPatience {
		t.Errorf("where every answer takes 300 ms it is %v", p.now())
	}
	for range 20 {
		p.took(time.Minute)
	}
	if p.now() != mostPatience {
		t.Errorf("it has no end: %v", p.now())
	}
	for range 100 {
		p.took(time.Millisecond)
	}
	if p.now() != leastPatience {
		t.Errorf("when answers are quick again it is %v", p.now())
	}
}
