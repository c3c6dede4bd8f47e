package exchange

import (
	"io"
	"os"
	"slices"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/wire"
)

// The methods that these two replace are called sendTrue and sendTrueChunk in this
// build (liar.go in test/e2e). LIE says what to lie about.

// Send sends a chain with a wrong state in its middle, and other messages as they are.
func (e *Exchange) Send(p peer.ID, d blob.Digest, m wire.Message) error {
	if claimed, ok := m.(wire.Chain); ok && os.Getenv("LIE") == "chain" && len(claimed.Inner) > 0 {
		inner := slices.Clone(claimed.Inner)
		inner[len(inner)/2][0] ^= 1
		m = wire.Chain{Inner: inner}
	}
	return e.sendTrue(p, d, m)
}

// SendChunk sends a chunk with a wrong byte in it.
func (e *Exchange) SendChunk(p peer.ID, d blob.Digest, i blob.ChunkIndex, body func() (io.ReadCloser, error), done func(error)) error {
	if os.Getenv("LIE") != "chunks" {
		return e.sendTrueChunk(p, d, i, body, done)
	}
	lie := func() (io.ReadCloser, error) {
		r, err := body()
		if err != nil {
			return nil, err
		}
		return &lyingReader{ReadCloser: r}, nil
	}
	return e.sendTrueChunk(p, d, i, lie, done)
}

// A lyingReader changes the first byte.
type lyingReader struct {
	io.ReadCloser
	lied bool
}

func (l *lyingReader) Read(p []byte) (int, error) {
	n, err := l.ReadCloser.Read(p)
	if n > 0 && !l.lied {
		p[0] ^= 1
		l.lied = true
	}
	return n, err
}
