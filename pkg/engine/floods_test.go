package engine

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/wire"
	"github.com/shoal-project/shoal/scheduler"
)

// A session that tells without end reaches the loop at its rate, and holds up no other.
func TestMessagesArePaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const seconds = 3
		e, d, _ := idleEngine(t)
		tell := func(from peer.ID, times int) time.Duration {
			e.Joined(from, d.digest)
			next(t, e)
			began := time.Now()
			for range times {
				e.Received(from, d.digest, wire.Have{Chunks: blob.NewBitset(d.geometry.Chunks())})
				next(t, e)
			}
			return time.Since(began)
		}
		if took := tell("flooder", messagesAtOnce+seconds*messagesPerSecond); took < (seconds-1)*time.Second {
			t.Errorf("what is to take %d s took %v", seconds, took)
		}
		if took := tell("honest", messagesAtOnce); took > 0 {
			t.Errorf("beside a flood it took %v", took)
		}
	})
}

// A peer that names others without end introduces so many of them, over all of its sessions.
func TestIntroductionsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const seconds = 3
		e, d, _ := idleEngine(t)
		e.net.members = new(port)
		introduced := func(from peer.ID, messages int) (names int) {
			for range messages {
				var told wire.Peers
				for i := range wire.MaxContacts {
					told.Contacts = append(told.Contacts, wire.Contact{Peer: fmt.Sprint("nobody ", i)})
				}
				e.Received(from, d.digest, told)
				for len(e.inbox) > 0 {
					for _, ev := range next(t, e) {
						if told, ok := ev.(scheduler.PeersTold); ok {
							names += len(told.Peers)
						}
					}
				}
			}
			return names
		}
		const flood = 2 * contactsAtOnce / wire.MaxContacts
		if got := introduced("flooder", flood); got != contactsAtOnce {
			t.Errorf("at once it introduced %d, want %d", got, contactsAtOnce)
		}
		time.Sleep(seconds * time.Second) // virtual
		if got := introduced("flooder", flood); got != seconds*contactsPerSecond {
			t.Errorf("in %d s it introduced %d", seconds, got)
		}
		if got := introduced("honest", 1); got != wire.MaxContacts {
			t.Errorf("beside a flood %d of %d are heard", got, wire.MaxContacts)
		}
	})
}
