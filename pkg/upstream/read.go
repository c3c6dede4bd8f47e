package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/shoal-project/shoal/pkg/blob"
)

// ReadBlob reads the n bytes at off of a blob of size bytes, all of which the caller
// fixed beforehand. Status and headers are checked before it returns: they name exactly
// those bytes of a blob of that size. The reader gives exactly n bytes and then io.EOF,
// or fewer and an error: *TruncatedError (io.ErrUnexpectedEOF), *InvalidResponseError, or
// how ctx ended. It is read by one goroutine and must be closed.
//
// Errors of ReadBlob itself: *StatusError (ErrNotFound, ErrUnauthorized, ErrThrottled),
// *UnreachableError, *InvalidResponseError, ErrRedirect, ErrRequest, or how ctx
// ended. ctx bounds the reading too.
//
// A part is asked for with one Range request, the whole blob with none. A registry that
// ignores the range costs a transfer of everything before the part as well; see
// RangesSupported. Where a registry redirects to is used again for the same blob and
// credential until it expires or refuses; then the registry is asked once more.
func (c *Client) ReadBlob(ctx context.Context, src Source, d blob.Digest, size, off, n blob.ByteCount) (io.ReadCloser, error) {
	repository, err := ParseRepository(src.Registry, src.Name)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRequest, err)
	}
	r := blobRead{
		key:  locationKey{repository: repository, digest: d, credential: src.Credential},
		size: size, off: off, n: n,
	}
	switch {
	case size < 0 || size > blob.MaxSize || off < 0 || n < 0 || off > size || n > size-off:
		return nil, fmt.Errorf("%w: bytes %d+%d of a blob of %d", ErrRequest, off, n, size)
	case n == 0 && size > 0:
		return http.NoBody, nil
	}
	if at, ok := c.located(r.key); ok {
		reader, err := c.readAt(ctx, r, at)
		if err == nil {
			return reader, nil
		}
		c.unlocate(r.key, at)
		if !stale(err) {
			return nil, err
		}
	}
	base, _ := c.base(repository.Registry)
	return c.readAt(ctx, r, hop{url: base.JoinPath("/v2/", repository.Name, "/blobs/", d.String()), trusted: true})
}

// stale reports whether an answer from a remembered place may only mean that the place
// is no longer good. Besides the refusals, signed URLs of Google Cloud Storage end with 400.
func stale(err error) bool {
	var status *StatusError
	return errors.As(err, &status) && status.Code >= 400 && status.Code < 500 && !errors.Is(err, ErrThrottled)
}

// A blobRead is what one ReadBlob asks for.
type blobRead struct {
	key          locationKey
	size, off, n blob.ByteCount
}

// whole reports whether no Range is needed.
func (r blobRead) whole() bool { return r.n == r.size }

// readAt asks one place, and what it redirects to.
func (c *Client) readAt(ctx context.Context, r blobRead, from hop) (io.ReadCloser, error) {
	registry := r.key.repository.Registry
	k := call{method: http.MethodGet, registry: registry, header: http.Header{}, credential: r.key.credential}
	if !r.whole() {
		k.header.Set("Range", fmt.Sprintf("bytes=%d-%d", r.off, r.off+r.n-1))
	}
	a, err := c.follow(ctx, k, from)
	if err != nil {
		return nil, err
	}
	if a.status != http.StatusOK && a.status != http.StatusPartialContent {
		return nil, c.refusal(registry, a)
	}
	reader, reason := r.accept(a)
	if reason != "" {
		a.body.discard()
		return nil, &InvalidResponseError{Registry: registry, Host: a.at.url.Host, Reason: reason}
	}
	if !r.whole() {
		c.noteRanges(registry, a.status == http.StatusPartialContent)
	}
	if a.redirected {
		c.locate(r.key, a.at)
	}
	return reader, nil
}

// accept checks an answer against what was asked, and says what is wrong with it.
func (r blobRead) accept(a *answer) (_ *blobReader, reason string) {
	if encoded(a.header) {
		return nil, "it is encoded, which was not asked for"
	}
	named, reason := r.named(a.header)
	if reason != "" {
		return nil, reason
	}
	b := &blobReader{body: a.body, host: a.at.url.Host, left: r.n, want: r.n}
	length := a.body.want
	if a.status == http.StatusPartialContent {
		values := a.header["Content-Range"]
		if r.whole() {
			return nil, "a part, where the whole was asked for"
		}
		if len(values) != 1 {
			return nil, "a part without one Content-Range"
		}
		got, ok := ParseContentRange(values[0])
		if want := (ContentRange{First: r.off, Last: r.off + r.n - 1, Total: r.size}); !ok || got != want {
			return nil, fmt.Sprintf("not the range %d-%d/%d that was asked for", want.First, want.Last, want.Total)
		}
		if length >= 0 && length != r.n {
			return nil, fmt.Sprintf("%d bytes in a range of %d", length, r.n)
		}
		b.toEnd = true
		return b, ""
	}
	// An error page with status 200 is the usual lie: the size must agree, and without
	// one the registry must have named the blob.
	if length >= 0 && length != r.size || length < 0 && !named {
		return nil, fmt.Sprintf("%d bytes where a blob of %d was asked for", length, r.size)
	}
	b.skip = r.off
	b.toEnd = r.off+r.n == r.size
	return b, ""
}

// named reports whether the answer names the blob that was asked for.
func (r blobRead) named(h http.Header) (_ bool, reason string) {
	for _, value := range h["Docker-Content-Digest"] {
		if !strings.HasPrefix(value, "sha256:") && ValidDigest(value) {
			continue // the same content under another algorithm, for all that is known
		}
		if value != r.key.digest.String() {
			return false, "another blob, by its Docker-Content-Digest"
		}
	}
	return h.Get("Docker-Content-Digest") == r.key.digest.String(), ""
}

// refusal turns an answer that is not content into an error.
func (c *Client) refusal(registry string, a *answer) error {
	a.body.discard()
	invalid := &InvalidResponseError{Registry: registry, Host: a.at.url.Host}
	switch {
	case a.status == http.StatusRequestedRangeNotSatisfiable:
		invalid.Reason = "the range does not exist, so the size is another"
		return invalid
	case a.status >= 200 && a.status < 300:
		invalid.Reason = fmt.Sprintf("status %d", a.status)
		return invalid
	}
	return &StatusError{
		Registry: registry, Host: a.at.url.Host, Code: a.status,
		RetryAfter: retryAfter(a.header.Get("Retry-After")), Challenges: c.challenges(registry, a),
	}
}

// A blobReader gives the bytes of one blobRead and no more.
type blobReader struct {
	*body
	host       string
	skip, left blob.ByteCount // still to discard, still to give
	want       blob.ByteCount
	toEnd      bool // the answer should end with the last byte given
	err        error
}

// Read implements io.Reader.
func (b *blobReader) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	n, err := b.read(p)
	b.err = err
	return n, err
}

func (b *blobReader) read(p []byte) (int, error) {
	if b.skip > 0 {
		if _, err := io.CopyN(io.Discard, b.body, int64(b.skip)); err != nil {
			return 0, b.fault(err)
		}
		b.skip = 0
	}
	if b.left == 0 {
		return 0, io.EOF
	}
	if len(p) == 0 {
		return 0, nil
	}
	if blob.ByteCount(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := b.body.Read(p)
	b.left -= blob.ByteCount(n)
	switch {
	case b.left == 0 && err == nil && b.toEnd && b.body.want < 0:
		// Only an answer of unknown length can be too long. Its last bytes are held back:
		// a caller that reads exactly n would not see an error after them.
		if err := b.noMore(); err != nil {
			b.left += blob.ByteCount(n)
			return 0, err
		}
		return n, io.EOF
	case err != nil && (b.left > 0 || !errors.Is(err, io.EOF)):
		return n, b.fault(err)
	}
	return n, err
}

// noMore checks that nothing follows the last byte.
func (b *blobReader) noMore() error {
	var more [1]byte
	_, err := io.ReadFull(b.body, more[:])
	switch {
	case err == nil:
		return &InvalidResponseError{Registry: b.registry, Host: b.host, Reason: fmt.Sprintf("more than the %d bytes announced", b.want)}
	case errors.Is(err, io.EOF):
		return nil
	}
	return b.fault(err)
}

// fault turns an error of the body into one about the bytes that were asked for.
func (b *blobReader) fault(err error) error {
	var cut *TruncatedError
	isCut := errors.As(err, &cut)
	if !isCut && !errors.Is(err, io.EOF) {
		return err
	}
	return &TruncatedError{Registry: b.registry, Got: b.want - b.left, Want: b.want, Stalled: isCut && cut.Stalled}
}
