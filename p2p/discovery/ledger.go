package discovery

import (
	"math/rand/v2"
	"sync"
	"time"

	kb "github.com/libp2p/go-libp2p-kbucket"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/shoal-project/shoal/pkg/blob"
)

const (
	// maxGroup bounds the keys that are announced after one lookup.
	maxGroup = 512
	// closePeers is how many of the peers found must lie in a key's own part of the key space
	// before they are taken for the closest to it without another lookup.
	closePeers = 4
	retryFrom  = time.Second
	retryUpTo  = 30 * time.Second
)

// held is a key that this node announces until it is withdrawn.
type held struct {
	key  blob.Digest
	at   kb.ID     // where the key lies in the DHT's key space
	due  time.Time // when it is announced next; zero: it never was, and goes first
	busy bool      // a worker has it
	wait time.Duration
}

// A ledger knows which keys are announced and when each is due. It is safe for concurrent use.
type ledger struct {
	limit    int
	interval time.Duration // between two announcements of a key, give or take a tenth
	wake     chan struct{} // has room for one: something became due

	mu   sync.Mutex
	held map[blob.Digest]*held
	rng  *rand.Rand
}

func newLedger(limit int, interval time.Duration, seed uint64) *ledger {
	return &ledger{
		limit: limit, interval: interval, wake: make(chan struct{}, 1),
		held: map[blob.Digest]*held{}, rng: rand.New(rand.NewPCG(seed, seed)),
	}
}

// add takes the key into the ledger, due at once. It reports false when the ledger is full.
func (l *ledger) add(key blob.Digest, at kb.ID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.held[key]; ok {
		return true
	}
	if len(l.held) >= l.limit {
		return false
	}
	l.held[key] = &held{key: key, at: at}
	l.signal()
	return true
}

func (l *ledger) remove(key blob.Digest) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.held, key)
}

// has reports whether the key is announced.
func (l *ledger) has(key blob.Digest) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.held[key] != nil
}

// claim hands out that key, if it is due.
func (l *ledger) claim(key blob.Digest, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := l.held[key]
	if h == nil || h.busy || h.due.After(now) {
		return false
	}
	h.busy = true
	return true
}

func (l *ledger) len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.held)
}

// next hands out the key that is due and has waited longest, or says how long until one is.
func (l *ledger) next(now time.Time) (key blob.Digest, ok bool, wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var first *held
	due := 0
	for _, h := range l.held {
		if h.busy {
			continue
		}
		if first == nil || h.due.Before(first.due) {
			first = h
		}
		if !h.due.After(now) {
			due++
		}
	}
	if first == nil {
		return key, false, l.interval
	}
	if due == 0 {
		return key, false, first.due.Sub(now)
	}
	if due > 1 {
		l.signal() // for another worker
	}
	first.busy = true
	return first.key, true, 0
}

// group hands out the keys that can be announced along with key, because the peers that were
// found to be closest to it are also the closest to them: those due within a third of the
// interval. With all set, they are all others: the peers are the whole network.
func (l *ledger) group(key blob.Digest, peers []peer.ID, all bool, now time.Time) []blob.Digest {
	l.mu.Lock()
	defer l.mu.Unlock()
	center, ok := l.held[key]
	if !ok {
		return nil
	}
	region := regionOf(center.at, peers)
	soon := now.Add(l.interval / 3)
	var out []blob.Digest
	for _, h := range l.held {
		if len(out) == maxGroup {
			break
		}
		if h.busy || h.due.After(soon) || !all && kb.CommonPrefixLen(center.at, h.at) < region {
			continue
		}
		h.busy = true
		out = append(out, h.key)
	}
	return out
}

// regionOf returns the length of the prefix that names the smallest part of the key space
// around center with closePeers of the peers in it. All of that part's peers are among the
// given, which are the closest to center, unless the prefix is as short as the farthest
// peer's: then no other key belongs to it.
func regionOf(center kb.ID, peers []peer.ID) int {
	farthest := len(center) * 8
	counts := make([]int, farthest+1) // peers by the length of the prefix they share with center
	for _, p := range peers {
		shared := kb.CommonPrefixLen(center, kb.ConvertPeerID(p))
		counts[shared]++
		farthest = min(farthest, shared)
	}
	inside := 0
	for length := len(counts) - 1; length > farthest; length-- {
		if inside += counts[length]; inside >= closePeers {
			return farthest + 1
		}
	}
	return len(center)*8 + 1
}

// announced takes back keys that were handed out: they are due again after the interval.
func (l *ledger) announced(now time.Time, keys ...blob.Digest) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, key := range keys {
		if h, ok := l.held[key]; ok {
			h.busy, h.wait = false, 0
			h.due = now.Add(l.jitter(l.interval))
		}
	}
}

// failed takes back keys that could not be announced: they are due again soon.
func (l *ledger) failed(now time.Time, keys ...blob.Digest) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, key := range keys {
		if h, ok := l.held[key]; ok {
			h.busy, h.wait = false, min(max(2*h.wait, retryFrom), retryUpTo)
			h.due = now.Add(l.jitter(h.wait))
		}
	}
	l.signal()
}

// jitter is d, give or take a tenth, so that nodes that started together drift apart.
func (l *ledger) jitter(d time.Duration) time.Duration {
	return d - d/10 + time.Duration(l.rng.Int64N(int64(d)/5+1))
}

func (l *ledger) signal() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}
