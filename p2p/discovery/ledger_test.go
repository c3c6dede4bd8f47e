package discovery

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"testing"
	"time"

	kb "github.com/libp2p/go-libp2p-kbucket"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/shoal-project/shoal/pkg/blob"
)

func keyNumber(i int) blob.Digest { return sha256.Sum256(fmt.Appendf(nil, "key %d", i)) }

func TestLedgerOrder(t *testing.T) {
	now := time.Unix(1000, 0)
	l := newLedger(3, time.Minute, 1)
	for i := range 3 {
		if !l.add(keyNumber(i), placeOf(keyNumber(i))) {
			t.Fatal("the ledger is full")
		}
	}
	if l.add(keyNumber(3), placeOf(keyNumber(3))) || !l.add(keyNumber(0), placeOf(keyNumber(0))) || l.len() != 3 {
		t.Error("the limit is not kept")
	}
	seen := map[blob.Digest]bool{}
	for range 3 {
		key, ok, _ := l.next(now)
		if !ok || seen[key] {
			t.Fatalf("next = %v, %v", key, ok)
		}
		seen[key] = true
	}
	if _, ok, wait := l.next(now); ok || wait != time.Minute {
		t.Errorf("next with all handed out: %v, %v", ok, wait)
	}
	l.announced(now, keyNumber(0), keyNumber(1))
	l.failed(now, keyNumber(2))
	_, ok, wait := l.next(now)
	if ok || wait < 900*time.Millisecond || wait > 1100*time.Millisecond {
		t.Errorf("a failed key is due in %v", wait)
	}
	if key, ok, _ := l.next(now.Add(2 * time.Second)); !ok || key != keyNumber(2) {
		t.Error("the failed key does not come again")
	}
	l.failed(now, keyNumber(2))
	if _, _, wait := l.next(now); wait < 1800*time.Millisecond {
		t.Errorf("the wait does not grow: %v", wait)
	}
	l.remove(keyNumber(2))
	if _, ok, wait := l.next(now); ok || wait < 54*time.Second || wait > 66*time.Second {
		t.Errorf("an announced key is due in %v", wait)
	}
	if _, ok, _ := l.next(now.Add(66 * time.Second)); !ok {
		t.Error("an announced key is never due again")
	}
	l.announced(now, keyNumber(2)) // withdrawn meanwhile
	if l.len() != 2 {
		t.Error("a withdrawn key is back")
	}
}

// In a large network the peers found for a key serve the other keys of its region, and for
// those they really are the closest.
func TestGroupIsTheRegion(t *testing.T) {
	const network, keys = 500, 1000
	type placed struct {
		id peer.ID
		at kb.ID
	}
	peers := make([]placed, network)
	for i := range peers {
		id := peer.ID(fmt.Sprintf("peer %d", i))
		peers[i] = placed{id, kb.ConvertPeerID(id)}
	}
	closest := func(at kb.ID) []peer.ID {
		slices.SortFunc(peers, func(a, b placed) int {
			for i := range at {
				if d := int(a.at[i]^at[i]) - int(b.at[i]^at[i]); d != 0 {
					return d
				}
			}
			return 0
		})
		ids := make([]peer.ID, keepers)
		for i := range ids {
			ids[i] = peers[i].id
		}
		return ids
	}
	l := newLedger(keys, time.Hour, 1)
	for i := range keys {
		l.add(keyNumber(i), placeOf(keyNumber(i)))
	}
	now := time.Unix(1000, 0)
	lookups, announced := 0, 0
	for {
		key, ok, _ := l.next(now)
		if !ok {
			break
		}
		lookups++
		found := closest(placeOf(key))
		group := append(l.group(key, found, false, now), key)
		announced += len(group)
		for _, k := range group {
			// Whoever looks for k asks the closest peers: all of them must be among those told.
			for _, p := range closest(placeOf(k))[:closePeers] {
				if !slices.Contains(found, p) {
					t.Fatalf("%s is among the closest to %s and was not told", p, k.Short())
				}
			}
		}
		l.announced(now, group...)
	}
	if announced != keys {
		t.Errorf("announced %d keys of %d", announced, keys)
	}
	if lookups > keys/5 {
		t.Errorf("%d lookups for %d keys: they are announced one by one", lookups, keys)
	}
}

func TestGroupOfASmallNetworkIsEverything(t *testing.T) {
	l := newLedger(100, time.Hour, 1)
	for i := range 100 {
		l.add(keyNumber(i), placeOf(keyNumber(i)))
	}
	now := time.Unix(1000, 0)
	key, _, _ := l.next(now)
	if n := len(l.group(key, []peer.ID{"a"}, true, now)); n != 99 {
		t.Errorf("%d keys go along, want 99", n)
	}
	if n := len(l.group(keyNumber(1000), nil, true, now)); n != 0 {
		t.Error("a key that is not held has a group")
	}
}

// Keys that were announced just now do not go along again.
func TestGroupLeavesFreshKeysAlone(t *testing.T) {
	l := newLedger(10, time.Hour, 1)
	now := time.Unix(1000, 0)
	l.add(keyNumber(0), placeOf(keyNumber(0)))
	l.next(now)
	l.announced(now, keyNumber(0))
	l.add(keyNumber(1), placeOf(keyNumber(1)))
	if key, ok, _ := l.next(now); !ok || key != keyNumber(1) || len(l.group(key, nil, true, now)) != 0 {
		t.Error("a fresh key was announced again")
	}
}
