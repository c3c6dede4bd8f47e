package proxy

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/upstream"
)

const (
	// smallAnswer is what every request may hold in memory for its answer, in bytes: nearly all
	// manifests are shorter.
	smallAnswer = 64 * blob.KiB
	// roomWait is how long a longer one waits for others to be sent.
	roomWait = 2 * time.Second
)

// A share is what one request takes of the memory for long answers, all of which together have
// Config.MaxBuffered. Answers come from registries that clients choose, and stay until those clients have
// read them. It is used by one goroutine; whoever made it releases it.
type share struct {
	room *semaphore.Weighted // counts bytes
	held blob.ByteCount
}

// grow has the share cover one answer of n bytes. It returns a *failure when there is no room.
func (s *share) grow(ctx context.Context, n blob.ByteCount) error {
	if n <= max(smallAnswer, s.held) {
		return nil
	}
	limited, cancel := context.WithTimeout(ctx, roomWait)
	defer cancel()
	if err := s.room.Acquire(limited, int64(n-s.held)); err != nil {
		return unavailable("This node holds as many long answers as it may. Ask the registry itself, or again later.")
	}
	s.held = n
	return nil
}

// release gives everything back.
func (s *share) release() {
	s.room.Release(int64(s.held))
	s.held = 0
}

// readAll reads an answer of at most limit bytes; length is what its headers say, -1 for nothing. Errors wrap
// upstream.ErrTooLong for a longer one, or are a *failure when there is no room for it.
func (s *share) readAll(ctx context.Context, r io.Reader, length, limit blob.ByteCount) ([]byte, error) {
	if length > limit {
		return nil, fmt.Errorf("%w: %d bytes, at most %d are read", upstream.ErrTooLong, length, limit)
	}
	first, err := io.ReadAll(io.LimitReader(r, int64(smallAnswer)+1))
	switch {
	case err != nil:
		return nil, err
	case len(first) > int(limit):
		return nil, fmt.Errorf("%w: more than %d bytes", upstream.ErrTooLong, limit)
	case len(first) <= int(smallAnswer):
		return first, nil
	}
	if length < 0 {
		length = limit
	}
	if err := s.grow(ctx, length); err != nil {
		return nil, err
	}
	whole := bytes.NewBuffer(make([]byte, 0, int(length)+1+bytes.MinRead)) // it never grows
	whole.Write(first)
	if _, err := whole.ReadFrom(io.LimitReader(r, int64(length)+1-int64(len(first)))); err != nil {
		return nil, err
	}
	if whole.Len() > int(length) {
		return nil, fmt.Errorf("%w: more than %d bytes", upstream.ErrTooLong, length)
	}
	return whole.Bytes(), nil
}
