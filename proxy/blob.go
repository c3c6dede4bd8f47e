package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/upstream"
)

// octetStream is the type of every blob: what it really is, its manifest says.
const octetStream = "application/octet-stream"

// serveBlob answers HEAD and GET of a blob.
func (p *Proxy) serveBlob(w http.ResponseWriter, r *http.Request, rq request) (Outcome, error) {
	want, refusal, err := p.admit(r.Context(), rq)
	if err != nil {
		return OutcomeUnavailable, err
	}
	if refusal != nil {
		return p.pass(w, rq, refusal)
	}
	if want.Size < 0 {
		return p.servePassed(w, r, rq) // upstream does not say how long it is
	}
	etag := `"` + want.Blob.String() + `"`
	if noneMatch(r.Header.Values("If-None-Match"), etag) {
		w.Header().Set("ETag", etag)
		w.WriteHeader(http.StatusNotModified)
		return OutcomeServed, nil
	}
	if rq.head {
		blobHeader(w.Header(), want.Blob, octetStream, want.Size)
		w.WriteHeader(http.StatusOK)
		return OutcomeServed, nil
	}
	outcome, err := p.serveBody(w, r, want)
	p.heed(rq, err)
	return outcome, err
}

// heed ends the grant of a credential that upstream refused in the middle of a download, such as a
// token that expired. Without it a client that resumes with the same token would be let in
// and cut, again and again, instead of being told to get another.
func (p *Proxy) heed(rq request, err error) {
	switch {
	case errors.Is(err, upstream.ErrUnauthorized):
		p.grants.revoke(rq.repo, rq.who)
	case errors.Is(err, upstream.ErrNotFound):
		p.grants.hide(rq.repo, rq.who)
	}
}

// admit decides whether the client may have the blob, and finds out its size. A refusal
// is upstream's answer to pass on. A size of -1 means that nobody says.
func (p *Proxy) admit(ctx context.Context, rq request) (Want, *reply, error) {
	want := Want{Blob: rq.digest, Source: rq.source}
	take := func(n name) (Want, *reply, error) {
		want.Size, want.Image = n.Size, n.Image
		if size, err := p.deps.Store.Size(rq.digest); err == nil {
			want.Size = size
		}
		return want, nil, nil
	}
	n, named := p.names.lookup(rq.repo, rq.digest, true)
	if named && n.Size >= 0 && p.grants.fresh(rq.repo, rq.who, KindBlob) {
		return take(n)
	}
	rep, err := p.ask(ctx, rq, blobRequest(rq.ref))
	if err == nil && (rep.status == http.StatusForbidden || rep.status == http.StatusMethodNotAllowed) {
		// Some registries redirect to a place whose signature is good for GET only.
		rep, err = p.ask(ctx, rq, firstByteRequest(rq.ref))
	}
	switch {
	case away(err):
		if n, named = p.names.lookup(rq.repo, rq.digest, false); named && n.Size >= 0 && p.grants.lately(rq.repo, rq.who, KindBlob) {
			return take(n)
		}
		return want, nil, err
	case err != nil:
		return want, nil, err
	case rep.status != http.StatusOK:
		return want, rep, nil
	}
	if named && n.Size >= 0 {
		return take(n)
	}
	n = name{Size: rep.length, Upstream: true}
	p.names.learn(rq.repo, rq.digest, n)
	return take(n)
}

// blobHeader sets the headers of a blob, or of n bytes of it.
func blobHeader(h http.Header, d blob.Digest, contentType string, n blob.ByteCount) {
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.FormatInt(int64(n), 10))
	h.Set("Docker-Content-Digest", d.String())
	h.Set("ETag", `"`+d.String()+`"`)
	h.Set("Accept-Ranges", "bytes")
}

// noneMatch reports whether an If-None-Match header names the etag (RFC 9110, section 13.1.2).
func noneMatch(header []string, etag string) bool {
	for tag := range strings.SplitSeq(strings.Join(header, ","), ",") {
		tag = strings.TrimPrefix(strings.TrimSpace(tag), "W/")
		if tag == etag || tag == "*" {
			return true
		}
	}
	return false
}

// rangesOf returns the spans that the request asks for; none for the whole blob. A range
// under an If-Range that names something else is for the whole blob (RFC 9110, section 13.1.5).
func rangesOf(r *http.Request, d blob.Digest, size blob.ByteCount) ([]span, error) {
	if cond := r.Header.Get("If-Range"); cond != "" && cond != `"`+d.String()+`"` {
		return nil, nil
	}
	return parseRange(r.Header.Get("Range"), size)
}

// serveBody answers GET of a blob that the client may have.
func (p *Proxy) serveBody(w http.ResponseWriter, r *http.Request, want Want) (Outcome, error) {
	ctx := r.Context()
	spans, err := rangesOf(r, want.Blob, want.Size)
	if err != nil {
		w.Header().Set("Content-Range", "bytes */"+strconv.FormatInt(int64(want.Size), 10))
		return OutcomeRefused, refused(http.StatusRequestedRangeNotSatisfiable, "SIZE_INVALID",
			"The requested range lies outside the blob.")
	}
	body, err := p.deps.Blobs.Open(ctx, want)
	if err != nil {
		if ctx.Err() != nil {
			return OutcomeLeft, fmt.Errorf("%w: %w", errLeft, err)
		}
		if refusedUpstream(err) {
			return OutcomeUnavailable, fmt.Errorf("open blob: %w", err)
		}
		p.warnDirect(want, err)
		return p.finish(p.sendDirect(ctx, w, want, spans))
	}
	defer body.Close() //nolint:errcheck // the Body is only read
	if len(spans) > 1 {
		if file, err := body.File(); err == nil {
			defer file.Close() //nolint:errcheck // opened for reading
			return p.finish(p.sendParts(w, want, spans, file))
		}
	}
	s, status := oneSpan(spans, want.Size)
	out := p.newSender(w, status, bodyHeader(want, s, status))
	return p.finish(out, p.newFeed(body, want, s, out).run(ctx))
}

// oneSpan is what to send for spans in one piece, and the status that says so.
func oneSpan(spans []span, size blob.ByteCount) (span, int) {
	if len(spans) == 0 {
		return span{Len: size, Open: true}, http.StatusOK
	}
	return cover(spans), http.StatusPartialContent
}

// bodyHeader returns what sets the headers of one span of a blob.
func bodyHeader(want Want, s span, status int) func(http.Header) {
	return func(h http.Header) {
		blobHeader(h, want.Blob, octetStream, s.Len)
		if status == http.StatusPartialContent {
			h.Set("Content-Range", s.contentRange(want.Size))
		}
	}
}

// finish turns the end of a body into an outcome, and into an *abortedError when it must be cut.
func (p *Proxy) finish(out *sender, err error) (Outcome, error) {
	p.counters.sent.Add(uint64(out.sent))
	switch {
	case err == nil:
		return OutcomeServed, nil
	case out.started && errors.Is(err, errLeft):
		return OutcomeLeft, &abortedError{err}
	case out.started:
		return OutcomeAborted, &abortedError{err}
	}
	return OutcomeUnavailable, err
}

// sendDirect sends what the client asked for as it is read from upstream, when the blob
// cannot be had in any other way.
func (p *Proxy) sendDirect(ctx context.Context, w http.ResponseWriter, want Want, spans []span) (*sender, error) {
	s, status := oneSpan(spans, want.Size)
	out := p.newSender(w, status, bodyHeader(want, s, status))
	return out, p.readDirect(ctx, want, s.Off, s.End(), out)
}

// sendParts sends several ranges of a proven blob as multipart/byteranges (RFC 9110, section 14.6).
func (p *Proxy) sendParts(w http.ResponseWriter, want Want, spans []span, file io.ReaderAt) (*sender, error) {
	part := func(s span) textproto.MIMEHeader {
		return textproto.MIMEHeader{"Content-Type": {octetStream}, "Content-Range": {s.contentRange(want.Size)}}
	}
	var length countingWriter
	parts := multipart.NewWriter(&length)
	for _, s := range spans {
		_, _ = parts.CreatePart(part(s)) // a countingWriter never fails
		length += countingWriter(s.Len)
	}
	_ = parts.Close() // nor here
	out := p.newSender(w, http.StatusPartialContent, func(h http.Header) {
		blobHeader(h, want.Blob, "multipart/byteranges; boundary="+parts.Boundary(), blob.ByteCount(length))
	})
	writer := multipart.NewWriter(senderWriter{out})
	if err := writer.SetBoundary(parts.Boundary()); err != nil {
		return out, fmt.Errorf("multipart boundary: %w", err)
	}
	for _, s := range spans {
		if _, err := writer.CreatePart(part(s)); err != nil {
			return out, err
		}
		if err := out.copyAt(file, s.Off, s.End()); err != nil {
			return out, err
		}
	}
	return out, writer.Close()
}

// A countingWriter counts what is written to it.
type countingWriter blob.ByteCount

func (c *countingWriter) Write(p []byte) (int, error) {
	*c += countingWriter(len(p))
	return len(p), nil
}

// A senderWriter is a sender as an io.Writer.
type senderWriter struct{ out *sender }

func (w senderWriter) Write(p []byte) (int, error) {
	if err := w.out.write(p); err != nil {
		return 0, err
	}
	return len(p), nil
}
