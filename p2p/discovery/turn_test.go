package discovery

import (
	"bufio"
	"bytes"
	"testing"
	"testing/synctest"
	"time"

	pb "github.com/libp2p/go-libp2p-kad-dht/pb"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/time/rate"
	"google.golang.org/protobuf/encoding/protodelim"
)

// send has a peer send n messages, the i-th of which is taken when those before it were and the
// pause is over. It returns how many are taken, and when the last is.
func send(turn *turn, now time.Time, n int, pause time.Duration) (int, time.Time) {
	for i := range n {
		wait, err := turn.next(now)
		if err != nil {
			return i, now
		}
		now = now.Add(wait + pause)
	}
	return n, now
}

// Who sends without end is heard for the burst and ten seconds.
func TestTurnsOfTheGreedyEnd(t *testing.T) {
	turn := &turn{limiter: rate.NewLimiter(messageRate, messageBurst)}
	most := messageBurst + messageRate*int(maxBehind/time.Second)
	taken, end := send(turn, noon, 1_000_000, 0)
	if taken < most || taken > most+2 || end.Sub(noon) > maxBehind+time.Second {
		t.Errorf("%d messages are taken in %s, want %d in %s", taken, end.Sub(noon), most, maxBehind)
	}
}

// A node that announces all it has to one neighbour, and then at its pace, is heard.
func TestTurnsOfTheBusyGoOn(t *testing.T) {
	turn := &turn{limiter: rate.NewLimiter(messageRate, messageBurst)}
	taken, now := send(turn, noon, DefaultMaxKeys, 0)
	if taken != DefaultMaxKeys {
		t.Fatalf("of %d messages %d are taken", DefaultMaxKeys, taken)
	}
	const minutes = 3 * 60 * messageRate
	if taken, _ := send(turn, now, minutes, time.Second/(messageRate-1)); taken != minutes {
		t.Errorf("%d messages are taken of a peer that keeps to the rate, want %d", taken, minutes)
	}
}

// Many streams of one peer are together no better off than one.
func TestTurnsOfOnePeersStreams(t *testing.T) {
	limiter := rate.NewLimiter(messageRate, messageBurst)
	turns := make([]*turn, streamsPerPeer)
	for i := range turns {
		turns[i] = &turn{limiter: limiter}
	}
	taken := 0
	for second := range 60 {
		for _, turn := range turns {
			for range messageRate {
				if _, err := turn.next(noon.Add(time.Duration(second) * time.Second)); err == nil {
					taken++
				}
			}
		}
	}
	if most := messageBurst + 61*messageRate + int(messageRate*maxBehind/time.Second); taken > most {
		t.Errorf("%d messages of one peer's are taken in a minute, want %d at most", taken, most)
	}
}

func TestTurnsOfNobody(t *testing.T) {
	if _, err := (&turn{limiter: rate.NewLimiter(0, 0)}).next(noon); err == nil {
		t.Error("a message is taken of one who may ask nothing")
	}
}

// A greedyStream is one whose other end reads whatever is written, at once.
type greedyStream struct{ network.Stream }

func (greedyStream) Conn() network.Conn               { return greedyConn{} }
func (greedyStream) SetReadDeadline(time.Time) error  { return nil }
func (greedyStream) SetWriteDeadline(time.Time) error { return nil }
func (greedyStream) Write(p []byte) (int, error)      { return len(p), nil }

type greedyConn struct{ network.Conn }

func (greedyConn) RemotePeer() peer.ID { return "greedy" }

// The server takes a message when its turn has come, not before.
func TestServerWaitsForTheTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const seconds = 3
		var questions bytes.Buffer
		for range messageBurst + seconds*messageRate {
			if _, err := protodelim.MarshalTo(&questions, message(pb.Message_PING, nil)); err != nil {
				t.Fatal(err)
			}
		}
		s, in, turn := new(server), bufio.NewReader(&questions), &turn{limiter: rate.NewLimiter(messageRate, messageBurst)}
		began := time.Now()
		for questions.Len()+in.Buffered() > 0 {
			if err := s.exchange(t.Context(), greedyStream{}, in, turn); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(began).Round(time.Second); took != seconds*time.Second {
			t.Errorf("what is to take %d s took %v", seconds, took)
		}
	})
}
