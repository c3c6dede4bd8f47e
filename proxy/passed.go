package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/upstream"
)

// serveList answers for tags and referrers with what upstream says now.
func (p *Proxy) serveList(w http.ResponseWriter, r *http.Request, rq request) (Outcome, error) {
	endpoint := upstream.EndpointTags
	if rq.kind == KindReferrers {
		endpoint = upstream.EndpointReferrers
	}
	rep, err := p.ask(r.Context(), rq, upstream.Request{
		Method: http.MethodGet, Endpoint: endpoint, Reference: rq.ref, Query: r.URL.Query(), Accept: rq.accept,
	})
	if err != nil {
		return OutcomeUnavailable, err
	}
	if rep.status != http.StatusOK {
		return p.pass(w, rq, rep)
	}
	h := w.Header()
	for _, link := range rep.header.Values("Link") {
		if back := linkBack(link, r, rq.ns); back != "" {
			h.Add("Link", back)
		}
	}
	if filters := rep.header.Get("OCI-Filters-Applied"); filters != "" {
		h.Set("OCI-Filters-Applied", filters)
	}
	h.Set("Content-Type", rep.header.Get("Content-Type"))
	h.Set("Content-Length", strconv.Itoa(len(rep.body)))
	w.WriteHeader(http.StatusOK)
	if !rq.head {
		atOnce(w)
		n, _ := w.Write(rep.body) // the client may be gone
		p.counters.sent.Add(uint64(n))
	}
	return OutcomeServed, nil
}

// servePassed answers for a blob that this node cannot prove (another digest than SHA-256,
// or no known size) with upstream's own answer, streamed as it comes.
func (p *Proxy) servePassed(w http.ResponseWriter, r *http.Request, rq request) (Outcome, error) {
	registry := rq.repo.Registry
	if p.sightings.down(registry) {
		return OutcomeUnavailable, &unansweredError{registry: registry, cause: errAway, away: true}
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	patience := time.AfterFunc(p.askWait(), cancel) // for the headers: the body takes as long as it takes
	res, err := p.deps.Upstream.Forward(ctx, upstream.Request{
		Method: r.Method, Endpoint: upstream.EndpointBlob, Repository: rq.repo, Reference: rq.ref,
		Accept: rq.accept, Range: passedRange(r), Credential: rq.source.Credential,
	})
	patience.Stop()
	switch {
	case r.Context().Err() != nil:
		if err == nil {
			_ = res.Body.Close() // the client is gone
		}
		return OutcomeLeft, errLeft
	case err != nil:
		return OutcomeUnavailable, p.unanswered(r.Context(), registry, 0, err)
	}
	defer res.Body.Close() //nolint:errcheck // the answer was read, or the error is reported
	switch code := res.StatusCode; {
	case code == http.StatusOK, code == http.StatusPartialContent:
		p.grants.accept(rq.repo, rq.who, KindBlob)
		return p.stream(w, r, rq, res)
	case comeBackLater(code):
		return OutcomeUnavailable, p.unanswered(r.Context(), registry, code, nil)
	case code == http.StatusUnauthorized, code == http.StatusForbidden:
		p.grants.revoke(rq.repo, rq.who)
	}
	rep := &reply{status: res.StatusCode, header: res.Header}
	if rep.body, err = io.ReadAll(io.LimitReader(res.Body, int64(maxErrorBody))); err != nil {
		rep.body = nil
	}
	return p.pass(w, rq, rep)
}

// passedRange is the Range header to pass on: one that a registry can be expected to
// understand, else none.
func passedRange(r *http.Request) string {
	header := r.Header.Get("Range")
	if r.Header.Get("If-Range") != "" || strings.Contains(header, ",") || len(header) > 64 {
		return ""
	}
	if spans, err := parseRange(header, blob.MaxSize); err != nil || len(spans) != 1 {
		return ""
	}
	return header
}

// stream sends the body of upstream's answer to the client: all of it, or it is cut.
func (p *Proxy) stream(w http.ResponseWriter, r *http.Request, rq request, res *http.Response) (Outcome, error) {
	length := blob.ByteCount(res.ContentLength)
	if res.StatusCode == http.StatusPartialContent && !fits(res, r) {
		return OutcomeUnavailable, fmt.Errorf("%w: another range", ErrWrongBytes)
	}
	out := p.newSender(w, res.StatusCode, func(h http.Header) {
		h.Set("Content-Type", octetStream)
		h.Set("Docker-Content-Digest", rq.ref.String())
		if length >= 0 {
			h.Set("Content-Length", strconv.FormatInt(int64(length), 10))
		}
		for _, name := range []string{"Content-Range", "Accept-Ranges"} {
			if v := res.Header.Get(name); v != "" {
				h.Set(name, v)
			}
		}
	})
	if rq.head {
		out.start()
		return OutcomeServed, nil
	}
	err := out.copyAll(res.Body, length)
	p.counters.direct.Add(uint64(out.sent))
	return p.finish(out, err)
}

// fits reports whether a 206 is about what the client asked for: a part at another offset
// would be written to the wrong place.
func fits(res *http.Response, r *http.Request) bool {
	got, ok := upstream.ParseContentRange(res.Header.Get("Content-Range"))
	if !ok || got.Total <= 0 {
		return false
	}
	spans, err := parseRange(passedRange(r), got.Total)
	if err != nil || len(spans) != 1 {
		return false
	}
	s := spans[0]
	return got.First == s.Off && got.Last == s.End()-1 && (res.ContentLength < 0 || blob.ByteCount(res.ContentLength) == s.Len)
}

// copyAll sends all of r, which is n bytes long; -1 means until it ends. The headers go out
// with the first byte, or at the end of an empty r.
func (s *sender) copyAll(r io.Reader, n blob.ByteCount) error {
	if n >= 0 {
		err := s.copyReader(r, n)
		if err == nil {
			s.start()
		}
		return err
	}
	buf := make([]byte, copyBuffer)
	for {
		got, err := r.Read(buf)
		if got > 0 {
			if err := s.write(buf[:got]); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			s.start()
			return nil
		}
		if err != nil {
			return fmt.Errorf("read body: %w", err)
		}
	}
}
