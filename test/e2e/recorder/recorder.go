package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/shoal-project/shoal/p2p"
	"github.com/shoal-project/shoal/p2p/exchange"
	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/wire"
	"github.com/shoal-project/shoal/test/e2e"
)

const (
	// askEvery is how often sessions without an ask get one, after a Busy for example.
	askEvery = 25 * time.Millisecond
	// meetEvery is how often sessions are opened that are not there, and reports written.
	meetEvery = 250 * time.Millisecond
)

type key struct {
	peer peer.ID
	blob blob.Digest
}

// A session is what is known of one peer and blob.
type session struct {
	open    bool
	dialing bool
	asking  bool
	has     blob.Bitset // by what it says
	got     blob.Bitset // and has sent
}

// A recorder asks and compares. It is safe for concurrent use.
type recorder struct {
	host     *p2p.Host
	blobs    map[blob.Digest]blobOf
	out      string
	exchange *exchange.Exchange
	dials    sync.WaitGroup

	mu       sync.Mutex
	random   *rand.Rand
	sessions map[key]*session
	seen     map[peer.ID]*e2e.Recorded
}

func newRecorder(host *p2p.Host, blobs map[blob.Digest]blobOf, out string) *recorder {
	r := &recorder{
		host: host, blobs: blobs, out: out, random: rand.New(rand.NewPCG(1, 2)),
		sessions: make(map[key]*session), seen: make(map[peer.ID]*e2e.Recorded),
	}
	r.exchange = exchange.New(host.Host(), r, exchange.Config{})
	return r
}

// run asks until ctx ends.
func (r *recorder) run(ctx context.Context) error {
	defer r.exchange.Close()
	defer r.dials.Wait()
	ask, meet := time.NewTicker(askEvery), time.NewTicker(meetEvery)
	defer ask.Stop()
	defer meet.Stop()
	for {
		select {
		case <-ask.C:
			r.askAll()
		case <-meet.C:
			r.meet(ctx)
			if err := r.report(); err != nil {
				return err
			}
		case <-ctx.Done():
			return r.report()
		}
	}
}

// at returns the session of k, which may not be open. Needs mu.
func (r *recorder) at(k key) *session {
	s := r.sessions[k]
	if s == nil {
		n := r.blobs[k.blob].geometry.Chunks()
		s = &session{has: blob.NewBitset(n), got: blob.NewBitset(n)}
		r.sessions[k] = s
	}
	return s
}

// seenOf returns what was seen of a peer. Needs mu.
func (r *recorder) seenOf(p peer.ID) *e2e.Recorded {
	seen := r.seen[p]
	if seen == nil {
		seen = &e2e.Recorded{PeerID: p.String()}
		r.seen[p] = seen
	}
	return seen
}

// meet opens sessions about every blob with every member.
func (r *recorder) meet(ctx context.Context) {
	for _, m := range r.host.Members() {
		for d, b := range r.blobs {
			k := key{m.ID, d}
			r.mu.Lock()
			s := r.at(k)
			idle := !s.open && !s.dialing
			s.dialing = s.dialing || idle
			r.mu.Unlock()
			if !idle {
				continue
			}
			r.dials.Go(func() {
				_ = r.exchange.Connect(ctx, k.peer, k.blob, b.geometry.Size()) // or it is tried again
				r.mu.Lock()
				defer r.mu.Unlock()
				s.dialing = false
			})
		}
	}
}

// askAll gives each session that has none an ask, for whichever chunk chance picks.
func (r *recorder) askAll() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for k, s := range r.sessions {
		r.ask(k, s)
	}
}

// ask needs mu.
func (r *recorder) ask(k key, s *session) {
	if !s.open || s.asking {
		return
	}
	var wanted []blob.ChunkIndex
	for i := range s.has.AndNot(s.got) {
		wanted = append(wanted, i)
	}
	if len(wanted) == 0 {
		return
	}
	s.asking = r.exchange.Send(k.peer, k.blob, wire.Ask{Chunk: wanted[r.random.IntN(len(wanted))]}) == nil
}

// Accept implements exchange.Handler.
func (r *recorder) Accept(_ context.Context, _ peer.ID, d blob.Digest, size blob.ByteCount) error {
	if b, ok := r.blobs[d]; !ok || b.geometry.Size() != size {
		return errors.New("no blob of mine")
	}
	return nil
}

// Joined implements exchange.Handler.
func (r *recorder) Joined(p peer.ID, d blob.Digest) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.at(key{p, d})
	s.open, s.asking = true, false
}

// Left implements exchange.Handler.
func (r *recorder) Left(p peer.ID, d blob.Digest, _ error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.at(key{p, d})
	s.open, s.has = false, blob.NewBitset(s.has.Len())
}

// Received implements exchange.Handler.
func (r *recorder) Received(p peer.ID, d blob.Digest, m wire.Message) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.at(key{p, d})
	switch m := m.(type) { //nolint:gochecksumtype // nothing else matters to it
	case wire.Have:
		s.has.AddAll(m.Chunks)
	case wire.Busy:
		s.asking = false // until the next tick
	case wire.Chain:
		seen := r.seenOf(p)
		seen.Chains++
		seen.WrongBytes += r.blobs[d].wrongIn(m.Inner)
	case wire.Ask:
		_ = r.exchange.Send(p, d, wire.Busy(m)) // or nobody waits any more
	}
}

// Chunk implements exchange.Handler.
func (r *recorder) Chunk(p peer.ID, d blob.Digest, i blob.ChunkIndex, body io.Reader) error {
	wrong, err := compare(body, r.blobs[d].chunk(i))
	r.mu.Lock()
	defer r.mu.Unlock()
	seen := r.seenOf(p)
	seen.WrongBytes += wrong
	if err != nil {
		return err
	}
	seen.Chunks++
	k := key{p, d}
	s := r.at(k)
	s.got.Add(i)
	s.asking = false
	r.ask(k, s)
	return nil
}

// report replaces the file with what was seen by now.
func (r *recorder) report() error {
	r.mu.Lock()
	all := make([]e2e.Recorded, 0, len(r.seen))
	for p, seen := range r.seen {
		now := *seen
		now.Complete = true
		for d := range r.blobs {
			now.Complete = now.Complete && r.at(key{p, d}).got.Full()
		}
		all = append(all, now)
	}
	r.mu.Unlock()
	text, err := json.Marshal(all)
	if err != nil {
		return err
	}
	if err := os.WriteFile(r.out+".new", text, 0o600); err != nil {
		return err
	}
	return os.Rename(r.out+".new", r.out)
}
