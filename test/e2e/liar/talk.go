package liar

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"sync"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/wire"
)

// errLeft ends a lie whose listener has left.
var errLeft = errors.New("nobody listens any more")

// A talk is one stream of the exchange as the daemon sees it. It hears every word that the
// peer says to the daemon, and the daemon to the peer, and passes on what the lie leaves of
// it. One goroutine may read and another one write, as on any stream.
type talk struct {
	network.Stream
	liar *Liar
	peer peer.ID // the listener

	inlet *bufio.Reader // what the peer says
	heard []byte        // of that, what the daemon has still to read
	spoke []byte        // of what the daemon says, the beginning of a word

	asks  chan blob.ChunkIndex // to be answered by the liar
	once  sync.Once
	ended chan struct{} // closed when the stream is over

	mouth sync.Mutex // held for each word to the peer

	mu       sync.Mutex
	greeted  int                      // how many have said Hello
	geometry blob.Geometry            // what the daemon and the peer talk about
	known    *known                   // of the blob; nil if nothing is, and before both have said Hello
	dropped  map[blob.ChunkIndex]bool // chunks that the peer asked for, and wants no more
}

func newTalk(l *Liar, s network.Stream) *talk {
	return &talk{
		Stream: s, liar: l, peer: s.Conn().RemotePeer(), inlet: bufio.NewReader(s), dropped: make(map[blob.ChunkIndex]bool),
		asks: make(chan blob.ChunkIndex, 128), ended: make(chan struct{}), // more than a peer may ask at once
	}
}

// Read implements network.Stream, for the daemon.
func (t *talk) Read(p []byte) (int, error) {
	for len(t.heard) == 0 {
		w, err := readWord(t.inlet, t.about())
		if err != nil {
			t.end()
			return 0, err
		}
		if !t.hear(w) {
			continue
		}
		if t.heard, err = w.frame(t.about()); err != nil {
			t.end()
			return 0, err
		}
	}
	n := copy(p, t.heard)
	t.heard = t.heard[n:]
	return n, nil
}

// hear reports whether the daemon hears of a word of the peer's.
func (t *talk) hear(w word) bool {
	switch m := w.message.(type) { //nolint:gochecksumtype // the daemon hears of all others
	case wire.Hello:
		t.greet(m)
	case wire.Ask:
		if t.lies() && t.liar.lie.answer != nil {
			t.awaits(m.Chunk, true)
			select {
			case t.asks <- m.Chunk:
			default: // it has asked for more than anybody may at once
			}
			return false
		}
	case wire.Cancel:
		t.awaits(m.Chunk, false)
		return !t.lies() || t.liar.lie.answer == nil // the answer comes all the same
	}
	return true
}

// Write implements network.Stream, for the daemon.
func (t *talk) Write(p []byte) (int, error) {
	t.spoke = append(t.spoke, p...)
	for len(t.spoke) > 0 {
		rest := bytes.NewReader(t.spoke)
		w, err := readWord(rest, t.about())
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			break // more is to come
		}
		if err != nil {
			return 0, err
		}
		t.spoke = t.spoke[len(t.spoke)-rest.Len():]
		if err := t.speak(w); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// speak passes on what the lie leaves of a word of the daemon's.
func (t *talk) speak(w word) error {
	hello, ok := w.message.(wire.Hello)
	if !ok {
		if hides := t.liar.lie.hides; hides != nil && t.lies() && hides(w.message) {
			return nil
		}
		if _, refusal := w.message.(wire.Busy); refusal && t.liar.lie.refuses {
			t.note(answers)
		}
		return t.say(w.message, w.bytes)
	}
	said := hello
	if t.liar.lie.hello != nil {
		t.note(claims)
		said = t.liar.lie.hello(hello)
	}
	if err := t.say(said, nil); err != nil {
		return err
	}
	t.greet(hello)
	return nil
}

// greet takes note of a Hello. After the second one the lying begins.
func (t *talk) greet(m wire.Hello) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if g, err := blob.NewGeometry(m.Size); err == nil {
		t.geometry = g
	}
	if t.greeted++; t.greeted < 2 {
		return
	}
	if t.known = t.liar.truth.of(m.Blob, t.geometry); t.known == nil {
		return
	}
	if lie := t.liar.lie; lie.begin != nil {
		t.liar.wg.Go(func() { lie.begin(t) })
	}
	if t.liar.lie.answer != nil {
		t.liar.wg.Go(t.answer)
	}
}

// about is the geometry of the blob, zero before the first Hello.
func (t *talk) about() blob.Geometry {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.geometry
}

// lies reports whether the liar knows enough to lie.
func (t *talk) lies() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.known != nil
}

// answer answers what the peer asks, one ask after the other, until either is over.
func (t *talk) answer() {
	for {
		select {
		case i := <-t.asks:
			t.note(answers)
			if err := t.liar.lie.answer(t, i); err != nil {
				return
			}
		case <-t.ended:
			return
		case <-t.liar.ctx.Done():
			return
		}
	}
}

// awaits takes note that the peer asked for a chunk, or took that back. The chunk is one of the blob.
func (t *talk) awaits(i blob.ChunkIndex, asked bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if asked {
		delete(t.dropped, i)
	} else {
		t.dropped[i] = true
	}
}

// awaited reports whether the peer has not taken back what it asked.
func (t *talk) awaited(i blob.ChunkIndex) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return !t.dropped[i]
}

// note counts something that the listener was told.
func (t *talk) note(of func(*Told) *int64) { t.liar.ledger.note(t.peer, of) }

// say sends one word.
func (t *talk) say(m wire.Message, piece []byte) error {
	frame, err := word{m, piece}.frame(t.about())
	if err != nil {
		return err
	}
	return t.babble(frame)
}

// babble sends bytes that need not be a word.
func (t *talk) babble(p []byte) error {
	t.mouth.Lock()
	defer t.mouth.Unlock()
	_, err := t.Stream.Write(p)
	return err
}

// over reports whether there is nobody left to talk with.
func (t *talk) over() bool {
	select {
	case <-t.ended:
		return true
	case <-t.liar.ctx.Done():
		return true
	default:
		return false
	}
}

// silence lasts until the talk is over.
func (t *talk) silence() error {
	select {
	case <-t.ended:
	case <-t.liar.ctx.Done():
	}
	return errLeft
}

func (t *talk) end() { t.once.Do(func() { close(t.ended) }) }

// Close implements network.Stream.
func (t *talk) Close() error {
	t.end()
	return t.Stream.Close()
}

// Reset implements network.Stream.
func (t *talk) Reset() error {
	t.end()
	return t.Stream.Reset()
}

// ResetWithError implements network.Stream.
func (t *talk) ResetWithError(code network.StreamErrorCode) error {
	t.end()
	return t.Stream.ResetWithError(code)
}
