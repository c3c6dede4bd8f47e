package exchange

import (
	"io"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/shoal-project/shoal/pkg/blob"
)

// SendChunk sends a chunk with a wrong byte in it. The method that it replaces is
// called sendTrueChunk in this build (liar.go in test/e2e).
func (e *Exchange) SendChunk(p peer.ID, d blob.Digest, i blob.ChunkIndex, body func() (io.ReadCloser, error), done func(error)) error {
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
