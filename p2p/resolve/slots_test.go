package resolve

import (
	"context"
	"io"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
)

// open opens a stream to the service and says the beginning of a question.
func open(t *testing.T, from host.Host, to peer.ID) network.Stream {
	t.Helper()
	stream, err := from.NewStream(t.Context(), to, Protocol)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Write([]byte{20}); err != nil {
		t.Fatal(err)
	}
	return stream
}

// A member whose streams are silent takes no slot: others are answered meanwhile, and it can have
// no more than so many streams.
func TestSilentStreamsTakeNoSlot(t *testing.T) {
	hs := hosts(t, 3)
	silent, service := hs[0], hs[2].ID()
	s := serve(t, hs[2], nothing, Config{Timeout: time.Minute, Burst: 1000})
	other := serve(t, hs[1], nothing, Config{Timeout: 20 * time.Second})
	streams := make([]network.Stream, 0, streamsPerPeer)
	for range cap(streams) {
		streams = append(streams, open(t, silent, service))
	}
	for begun := 0; begun < streamsPerPeer; runtime.Gosched() { // until all of them are being served
		s.mu.Lock()
		if p := s.asking[silent.ID()]; p != nil {
			begun = p.streams
		}
		s.mu.Unlock()
	}
	for range 2 * answersAtOnce {
		if _, err := other.Ask(t.Context(), service, Question{"r", "p", "t"}); err != nil {
			t.Fatalf("beside silent streams of another member: %v", err)
		}
	}
	if _, err := io.ReadAll(open(t, silent, service)); err == nil {
		t.Error("one more stream is served")
	}
	for _, stream := range streams {
		_ = stream.Reset()
	}
}

// A member has so many answers under way at once and others wait for none of them; its own
// further questions are answered afterwards.
func TestOnePeerDoesNotTakeAllSlots(t *testing.T) {
	hs := hosts(t, 3)
	greedy, service := hs[0], hs[2].ID()
	release := make(chan struct{})
	begun := make(chan struct{}, streamsPerPeer)
	serve(t, hs[2], func(ctx context.Context, from peer.ID, _ Question) (Answer, error) {
		if from != greedy.ID() {
			return Answer{}, nil
		}
		begun <- struct{}{}
		select {
		case <-release:
		case <-ctx.Done():
		}
		return Answer{}, nil
	}, Config{Timeout: time.Minute, Burst: 1000})
	a := serve(t, greedy, nothing, Config{Timeout: time.Minute})
	other := serve(t, hs[1], nothing, Config{Timeout: 20 * time.Second})
	var asks sync.WaitGroup
	for range streamsPerPeer {
		asks.Go(func() {
			if _, err := a.Ask(t.Context(), service, Question{"r", "p", "t"}); err != nil {
				t.Error(err)
			}
		})
	}
	for range answersPerPeer {
		<-begun
	}
	for range 2 * answersAtOnce {
		if _, err := other.Ask(t.Context(), service, Question{"r", "p", "t"}); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(begun); n != 0 {
		t.Errorf("%d answers to one peer were under way at once, want %d", answersPerPeer+n, answersPerPeer)
	}
	close(release)
	asks.Wait()
}
