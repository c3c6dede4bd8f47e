package proxy

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/manifest"
	"github.com/shoal-project/shoal/pkg/upstream"
)

const (
	// maxList bounds a list of tags or referrers, in bytes. Registries answer longer ones in pages.
	maxList = 4 * blob.MiB
	// maxManifest bounds a manifest, in bytes. What is longer than manifest.MaxBody is passed unread.
	maxManifest = 2 * manifest.MaxBody
	// maxErrorBody bounds the body of an answer that is no success, in bytes.
	maxErrorBody = 64 * blob.KiB
)

// A reply is upstream's whole answer to one small request.
type reply struct {
	status int
	header http.Header
	body   []byte         // nil for HEAD
	length blob.ByteCount // as the headers say; -1 when they do not
}

// ofWhole makes an answer about a part of a blob one about the whole, such as HEAD brings.
func (r *reply) ofWhole() *reply {
	if r.status == http.StatusPartialContent {
		r.status, r.length = http.StatusOK, -1
		if part, ok := upstream.ParseContentRange(r.header.Get("Content-Range")); ok {
			r.length = part.Total
		}
	}
	return r
}

// refuses reports whether upstream said no: nothing is served against that. A nil reply says nothing.
func (r *reply) refuses() bool {
	if r == nil {
		return false
	}
	switch r.status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusGone:
		return true
	}
	return false
}

// ask sends one request upstream with the client's credential, reads the whole answer and
// notes what it says about that credential. An error is an *unansweredError, a *failure about the
// request itself, or wraps errLeft when the client went away first.
func (p *Proxy) ask(ctx context.Context, rq request, req upstream.Request) (*reply, error) {
	req.Repository, req.Credential = rq.repo, rq.source.Credential
	registry := rq.repo.Registry
	if p.sightings.down(registry) {
		return nil, &unansweredError{registry: registry, cause: errAway, away: true}
	}
	limited, cancel := context.WithTimeout(ctx, p.askWait())
	defer cancel()
	rep, err := p.exchange(limited, req, rq.share)
	switch {
	case ctx.Err() != nil:
		return nil, fmt.Errorf("%w: %w", errLeft, context.Cause(ctx))
	case errors.Is(err, upstream.ErrRequest):
		return nil, refused(http.StatusBadRequest, "UNSUPPORTED", "The headers or the query of the request cannot be passed on.")
	case isFailure(err):
		return nil, err
	case err != nil:
		return nil, p.unanswered(ctx, registry, 0, err)
	case comeBackLater(rep.status):
		return nil, p.unanswered(ctx, registry, rep.status, nil)
	}
	p.sightings.answered(registry)
	switch code := rep.status; {
	case code == http.StatusUnauthorized:
		p.recall.challenged(registry, rep.header.Values("WWW-Authenticate"))
		p.grants.revoke(rq.repo, rq.who)
	case code == http.StatusForbidden:
		p.grants.revoke(rq.repo, rq.who)
	case (code == http.StatusNotFound || code == http.StatusGone) && p.shown(rq):
		p.grants.hide(rq.repo, rq.who)
	case code == http.StatusOK && req.Endpoint == upstream.EndpointManifest:
		p.grants.accept(rq.repo, rq.who, KindManifest)
		p.wonder(rq)
	case code == http.StatusOK && req.Endpoint == upstream.EndpointBlob:
		p.grants.accept(rq.repo, rq.who, KindBlob)
	}
	return rep, nil
}

// shown reports whether upstream once showed what the request names to be in its repository.
func (p *Proxy) shown(rq request) bool {
	if d, ok := rq.ref.Digest(); ok {
		_, named := p.names.lookup(rq.repo, d, true)
		return named
	}
	_, known := p.tags.lookup(rq.repo, rq.ref.String())
	return known
}

// manifestRequest asks for a manifest.
func manifestRequest(method string, ref upstream.Reference, accept []string) upstream.Request {
	return upstream.Request{Method: method, Endpoint: upstream.EndpointManifest, Reference: ref, Accept: accept}
}

// blobRequest asks whether there is a blob, and how long it is.
func blobRequest(ref upstream.Reference) upstream.Request {
	return upstream.Request{Method: http.MethodHead, Endpoint: upstream.EndpointBlob, Reference: ref}
}

// firstByteRequest asks the same where HEAD is no answer. Upstream itself is asked: where it
// redirected an earlier read to is no sign that it still lets this client in.
func firstByteRequest(ref upstream.Reference) upstream.Request {
	return upstream.Request{Method: http.MethodGet, Endpoint: upstream.EndpointBlob, Reference: ref, Range: "bytes=0-0"}
}

// isFailure reports whether err words an answer of this node's own.
func isFailure(err error) bool {
	_, ok := errors.AsType[*failure](err)
	return ok
}

// exchange sends the request and reads the answer into the share, but no content of a blob. A HEAD needs no share.
func (p *Proxy) exchange(ctx context.Context, req upstream.Request, held *share) (*reply, error) {
	res, err := p.deps.Upstream.Forward(ctx, req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close() //nolint:errcheck // the answer was read, or the error is reported
	rep := &reply{status: res.StatusCode, header: res.Header, length: blob.ByteCount(res.ContentLength)}
	if req.Method == http.MethodHead {
		return rep, nil
	}
	if req.Endpoint == upstream.EndpointBlob && (rep.status == http.StatusOK || rep.status == http.StatusPartialContent) {
		return rep.ofWhole(), nil
	}
	limit := maxErrorBody
	switch {
	case rep.status == http.StatusOK && req.Endpoint == upstream.EndpointManifest:
		limit = maxManifest
	case rep.status == http.StatusOK:
		limit = maxList
	}
	rep.body, err = held.readAll(ctx, res.Body, rep.length, limit)
	if errors.Is(err, upstream.ErrTooLong) && rep.status != http.StatusOK {
		err = nil // an error's own words are not needed
	}
	if err != nil {
		return nil, fmt.Errorf("read answer: %w", err)
	}
	return rep, nil
}

// pass gives an answer that is no success back as it came: status, challenge and body.
func (p *Proxy) pass(w http.ResponseWriter, rq request, rep *reply) (Outcome, error) {
	outcome := OutcomeRefused
	switch rep.status {
	case http.StatusUnauthorized, http.StatusForbidden:
		outcome = OutcomeUnauthorized
	case http.StatusNotFound, http.StatusGone:
		outcome = OutcomeNotFound
	}
	if rep.status < 400 {
		return outcome, unavailable("Upstream gave an answer that is neither success nor error.")
	}
	if len(rep.body) == 0 {
		fail := passedFailure(rep.status, rq.kind)
		fail.Challenges, fail.Outcome = rep.header.Values("WWW-Authenticate"), outcome
		return outcome, fail
	}
	h := w.Header()
	for _, v := range rep.header.Values("WWW-Authenticate") {
		h.Add("WWW-Authenticate", v)
	}
	if h.Set("Content-Type", rep.header.Get("Content-Type")); h.Get("Content-Type") == "" {
		h.Set("Content-Type", "text/plain; charset=utf-8")
	}
	h.Set("Content-Length", strconv.Itoa(len(rep.body)))
	w.WriteHeader(rep.status)
	n, _ := w.Write(rep.body) // the client may be gone
	p.counters.sent.Add(uint64(n))
	return outcome, nil
}

// passedFailure words a status of upstream that came without a usable body.
func passedFailure(status int, kind Kind) *failure {
	f := &failure{Status: status, Code: "UNSUPPORTED", Message: "Upstream refused the request."}
	switch status {
	case http.StatusUnauthorized:
		f.Code, f.Message = "UNAUTHORIZED", "Upstream asks for a credential."
	case http.StatusForbidden:
		f.Code, f.Message = "DENIED", "Upstream does not let this credential pull."
	case http.StatusNotFound, http.StatusGone:
		f.Code, f.Message = "NAME_UNKNOWN", "Upstream has no such content."
		switch kind {
		case KindManifest:
			f.Code = "MANIFEST_UNKNOWN"
		case KindBlob:
			f.Code = "BLOB_UNKNOWN"
		case KindOther, KindPing, KindTags, KindReferrers, kinds:
		}
	}
	return f
}

// failureOf words an error that is none of the proxy's own failures.
func (p *Proxy) failureOf(err error) *failure {
	var status *upstream.StatusError
	switch {
	case errors.As(err, &status) && errors.Is(err, upstream.ErrUnauthorized):
		f := passedFailure(status.Code, KindBlob)
		f.Challenges, f.Outcome = status.Challenges, OutcomeUnauthorized
		return f
	case errors.Is(err, upstream.ErrUnauthorized):
		f := passedFailure(http.StatusUnauthorized, KindBlob)
		f.Outcome = OutcomeUnauthorized
		return f
	case errors.Is(err, upstream.ErrNotFound):
		f := passedFailure(http.StatusNotFound, KindBlob)
		f.Outcome = OutcomeNotFound
		return f
	case errors.Is(err, errLeft):
		f := unavailable("The client went away.")
		f.Outcome = OutcomeLeft
		return f
	}
	switch _, unanswered := errors.AsType[*unansweredError](err); {
	case away(err):
		return unavailable("Upstream cannot be asked now, and this node may not answer in its place.")
	case errors.Is(err, upstream.ErrTooLong):
		return unavailable(fmt.Sprintf("The answer of upstream is longer than the %d MiB that this node reads. "+
			"Ask for a list in pages (?n=1000), or ask the registry itself.", maxList/blob.MiB))
	case unanswered:
		return unavailable("Upstream is there, but gave no answer to this request that can be passed on.")
	}
	return unavailable("The content cannot be had now.")
}

// An abortedError is a failure after the headers: the body is cut.
type abortedError struct{ cause error }

func (e *abortedError) Error() string { return e.cause.Error() }
func (e *abortedError) Unwrap() error { return e.cause }
