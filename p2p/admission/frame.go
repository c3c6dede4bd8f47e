package admission

import (
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"

	"github.com/libp2p/go-libp2p/core/peer"
)

// purpose is the first byte of a frame: what the connection is for.
type purpose byte

const (
	// toJoin is for a connection that will be multiplexed.
	toJoin purpose = 0
	// toAsk is for a connection that ends here: the dialer wanted to know who answers.
	toAsk purpose = 1
)

// frameSize is what each side sends: one purpose, MaxSecrets tokens. It does not depend on
// how many secrets a node has, so that rotation does not show.
const frameSize = 1 + MaxSecrets*tokenSize

var errPurpose = errors.New("unknown purpose in an admission frame")

// writeFrame sends one token per secret; the rest of the frame is random.
func writeFrame(w io.Writer, why purpose, secrets []Secret, self peer.ID) error {
	var frame [frameSize]byte
	frame[0] = byte(why)
	_, _ = rand.Read(frame[1:]) // never fails
	for i, s := range secrets {
		t := s.token(self)
		copy(frame[1+i*tokenSize:], t[:])
	}
	if _, err := w.Write(frame[:]); err != nil {
		return fmt.Errorf("send admission tokens: %w", err)
	}
	return nil
}

// readFrame receives the other side's tokens. It returns ErrOutsider if none of them is
// remote's under one of the secrets.
func readFrame(r io.Reader, secrets []Secret, remote peer.ID) (purpose, error) {
	var frame [frameSize]byte
	if _, err := io.ReadFull(r, frame[:]); err != nil {
		return 0, fmt.Errorf("receive admission tokens: %w", err)
	}
	member := 0
	for _, s := range secrets {
		want := s.token(remote)
		for i := range MaxSecrets {
			member |= subtle.ConstantTimeCompare(want[:], frame[1+i*tokenSize:1+(i+1)*tokenSize])
		}
	}
	if member != 1 {
		return 0, ErrOutsider
	}
	why := purpose(frame[0])
	if why != toJoin && why != toAsk {
		return 0, errPurpose
	}
	return why, nil
}
