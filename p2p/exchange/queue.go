package exchange

import (
	"io"
	"slices"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/wire"
)

// maxMessages is how many messages may wait for the writer. Increments of Have, which may be
// many, wait as one, and of Reading only the latest waits.
const maxMessages = 1024

// A queue is what waits for the writer of one session. Owned by session.mu.
type queue struct {
	have     blob.Bitset   // not told yet; of length 0 if there is nothing
	haveOwn  bool          // have is the queue's own and not a message's
	reading  *wire.Reading // the latest, if it was not told yet
	messages []wire.Message
	chunks   []upload
}

// An upload is a chunk to be sent.
type upload struct {
	chunk blob.ChunkIndex
	body  func() (io.ReadCloser, error)
	done  func(error)
}

// addHave joins increments. What one message says is true of the other's time too.
func (q *queue) addHave(chunks blob.Bitset) {
	switch {
	case q.have.Len() == 0:
		q.have, q.haveOwn = chunks, false
		return
	case !q.haveOwn:
		q.have, q.haveOwn = q.have.Clone(), true
	}
	for i := range chunks.All() {
		q.have.Add(i)
	}
}

// add appends a message.
func (q *queue) add(m wire.Message) error {
	if len(q.messages) >= maxMessages {
		return ErrOverflow
	}
	q.messages = append(q.messages, m)
	return nil
}

// takeBack removes an Ask that was not written yet.
func (q *queue) takeBack(ask wire.Ask) bool {
	at := slices.IndexFunc(q.messages, func(m wire.Message) bool { return m == wire.Message(ask) })
	if at < 0 {
		return false
	}
	q.messages = slices.Delete(q.messages, at, at+1)
	return true
}

// takeMessages empties the queue of messages. Have comes before Reading: between the two a
// chunk that was read would seem to be neither here nor on its way.
func (q *queue) takeMessages() []wire.Message {
	taken := q.messages
	if q.reading != nil {
		taken = slices.Insert(taken, 0, wire.Message(*q.reading))
	}
	if q.have.Len() > 0 {
		taken = slices.Insert(taken, 0, wire.Message(wire.Have{Chunks: q.have}))
	}
	q.messages, q.reading, q.have, q.haveOwn = nil, nil, blob.Bitset{}, false
	return taken
}

// dropChunk removes a chunk that was not begun.
func (q *queue) dropChunk(i blob.ChunkIndex) (upload, bool) {
	at := slices.IndexFunc(q.chunks, func(u upload) bool { return u.chunk == i })
	if at < 0 {
		return upload{}, false
	}
	dropped := q.chunks[at]
	q.chunks = slices.Delete(q.chunks, at, at+1)
	return dropped, true
}
