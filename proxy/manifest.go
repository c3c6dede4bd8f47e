package proxy

import (
	"context"
	"crypto/sha256"
	"errors"
	"log/slog"
	"mime"
	"net/http"
	"strconv"
	"strings"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/manifest"
	"github.com/shoal-project/shoal/pkg/upstream"
)

// staleWarning is the Warning header of an answer that upstream could not be asked about, in the
// form that the distribution specification, "Warnings", asks for and containerd prints.
const staleWarning = `299 - "Shoal cannot reach %s. This is what the tag meant %s ago."`

// maxAhead bounds the layers started for one manifest. Images have at most 127; the rest of
// something else's starts when a client asks.
const maxAhead = 512

// A found is a manifest to answer with. For HEAD the body may be missing.
type found struct {
	digest    string // of any algorithm; "" when upstream gave none
	mediaType string
	size      blob.ByteCount
	body      []byte
	// warning goes with an answer that may be out of date; "" for none.
	warning string
}

// newFound is the manifest d whose bytes are at hand.
func newFound(d blob.Digest, mediaType string, body []byte) found {
	return found{digest: d.String(), mediaType: mediaType, size: blob.ByteCount(len(body)), body: body}
}

// answer sends a manifest.
func (p *Proxy) answer(w http.ResponseWriter, rq request, m found) (Outcome, error) {
	h := w.Header()
	h.Set("Content-Type", m.mediaType)
	h.Set("Content-Length", strconv.FormatInt(int64(m.size), 10))
	if m.digest != "" {
		h.Set("Docker-Content-Digest", m.digest)
		h.Set("ETag", `"`+m.digest+`"`)
	}
	outcome := OutcomeServed
	if m.warning != "" {
		h.Set("Warning", m.warning)
		outcome = OutcomeStale
	}
	w.WriteHeader(http.StatusOK)
	if rq.head {
		return outcome, nil
	}
	atOnce(w)
	n, err := w.Write(m.body)
	p.counters.sent.Add(uint64(n))
	if err != nil {
		return OutcomeLeft, &abortedError{errLeft}
	}
	return outcome, nil
}

// serveTag answers HEAD and GET of a manifest by tag: upstream says which digest it is.
func (p *Proxy) serveTag(w http.ResponseWriter, r *http.Request, rq request) (Outcome, error) {
	ctx := r.Context()
	rep, err := p.ask(ctx, rq, manifestRequest(http.MethodHead, rq.ref, rq.accept))
	if err != nil {
		return p.serveStaleTag(ctx, w, rq, err)
	}
	if rep.status == http.StatusNotFound {
		p.tags.forget(rq.repo, rq.ref.String())
	}
	m, d, ok := headOf(rep)
	switch {
	case rep.status != http.StatusOK && rq.head && rep.status != http.StatusMethodNotAllowed:
		return p.pass(w, rq, rep)
	case rep.status != http.StatusOK || !ok:
		// Upstream does not answer HEAD as it should, or the client wants the body of a refusal.
		return p.serveFetched(ctx, w, rq, rep)
	}
	p.learnTag(rq, d, m.mediaType)
	if rq.head {
		if body, mediaType := p.storedFor(ctx, rq, d); body != nil {
			m = newFound(d, mediaType, body)
		}
		return p.answer(w, rq, m)
	}
	byDigest := rq
	byDigest.ref, byDigest.digest = upstream.DigestReference(d), d
	return p.serveAuthorized(ctx, w, byDigest)
}

// headOf reads the headers of a manifest. It is not ok when one of them is missing or
// cannot be right: clients fail for good on those (a length of 0, no type, no digest).
func headOf(rep *reply) (m found, d blob.Digest, ok bool) {
	d, err := blob.ParseDigest(rep.header.Get("Docker-Content-Digest"))
	m = found{digest: d.String(), mediaType: typeOf(rep), size: rep.length}
	return m, d, rep.status == http.StatusOK && err == nil && isManifestType(m.mediaType) && m.size > 0 && m.size <= maxManifest
}

// typeOf is the Content-Type of an answer without its parameters, which manifests have no use for
// (distribution specification, "Pulling manifests"); "" for a malformed one.
func typeOf(rep *reply) string {
	t, _, err := mime.ParseMediaType(rep.header.Get("Content-Type"))
	if err != nil {
		return ""
	}
	return t
}

// isManifestType tells the type of a manifest from one that says nothing.
func isManifestType(t string) bool {
	return strings.HasPrefix(t, "application/") && t != "application/octet-stream" && t != "application/json"
}

// serveManifest answers HEAD and GET of a manifest by digest.
func (p *Proxy) serveManifest(w http.ResponseWriter, r *http.Request, rq request) (Outcome, error) {
	ctx := r.Context()
	if rq.digest.IsZero() {
		return p.serveFetched(ctx, w, rq, nil)
	}
	if p.authorized(rq) {
		return p.serveAuthorized(ctx, w, rq)
	}
	// Upstream is asked before anything is looked for here: a client that it refuses must not see
	// what is, nor how many requests or reads of the disk the refusal took.
	rep, err := p.ask(ctx, rq, manifestRequest(http.MethodHead, rq.ref, rq.accept))
	if err != nil {
		return p.serveStaleManifest(ctx, w, rq, err)
	}
	m, d, ok := headOf(rep)
	switch {
	case rep.status == http.StatusOK && ok && d == rq.digest:
	case rep.status != http.StatusOK && rq.head && rep.status != http.StatusMethodNotAllowed:
		return p.pass(w, rq, rep)
	default:
		return p.serveFetched(ctx, w, rq, rep)
	}
	p.names.learn(rq.repo, d, name{Size: m.size, Upstream: true})
	if held, _ := p.storedFor(ctx, rq, rq.digest); rq.head && held == nil {
		return p.answer(w, rq, m)
	}
	return p.serveAuthorized(ctx, w, rq)
}

// authorized reports whether upstream accepted the credential for the repository just
// now, and showed the digest to belong to it.
func (p *Proxy) authorized(rq request) bool {
	_, named := p.names.lookup(rq.repo, rq.digest, true)
	return named && p.grants.fresh(rq.repo, rq.who, KindManifest)
}

// serveAuthorized answers with a manifest that upstream lets this client have: from the
// store, else from members, else from upstream.
func (p *Proxy) serveAuthorized(ctx context.Context, w http.ResponseWriter, rq request) (Outcome, error) {
	if body, mediaType := p.storedFor(ctx, rq, rq.digest); body != nil {
		p.begin(rq, rq.digest, body, true)
		return p.answer(w, rq, newFound(rq.digest, mediaType, body))
	}
	if !rq.head {
		answers := p.askMembers(ctx, rq, p.config.MembersWait)
		if body := answers.manifest(rq.digest); body != nil {
			p.keep(rq.digest, body)
			p.begin(rq, rq.digest, body, true)
			return p.answer(w, rq, newFound(rq.digest, manifest.MediaType(body), body))
		}
	}
	return p.serveFetched(ctx, w, rq, nil)
}

// serveFetched answers with what upstream says to GET, its refusals included. If upstream refused
// HEAD before, head is that answer, and stands when there is none to GET; else it may be nil.
func (p *Proxy) serveFetched(ctx context.Context, w http.ResponseWriter, rq request, head *reply) (Outcome, error) {
	rep, err := p.ask(ctx, rq, manifestRequest(http.MethodGet, rq.ref, rq.accept))
	if err != nil {
		if _, unanswered := errors.AsType[*unansweredError](err); unanswered && head.refuses() {
			return p.pass(w, rq, head)
		}
		if rq.ref.IsTag() {
			return p.serveStaleTag(ctx, w, rq, err)
		}
		return p.serveStaleManifest(ctx, w, rq, err)
	}
	if rep.status != http.StatusOK {
		return p.pass(w, rq, rep)
	}
	m, d, err := bodyOf(rq, rep)
	if err != nil {
		return OutcomeUnavailable, err
	}
	if rq.ref.IsTag() {
		p.learnTag(rq, d, m.mediaType)
	}
	p.names.learn(rq.repo, d, name{Size: m.size, Upstream: true})
	p.keep(d, m.body)
	p.begin(rq, d, m.body, true)
	return p.answer(w, rq, m)
}

// errWrongManifest means that upstream's answer is not the manifest that was asked for.
var errWrongManifest = errors.New("upstream sent another manifest than it says")

// bodyOf checks the manifest in upstream's answer to GET, and returns it with its SHA-256.
func bodyOf(rq request, rep *reply) (found, blob.Digest, error) {
	d := blob.Digest(sha256.Sum256(rep.body))
	said := rep.header.Get("Docker-Content-Digest")
	if len(rep.body) == 0 || !rq.digest.IsZero() && d != rq.digest {
		return found{}, d, errWrongManifest
	}
	if claimed, err := blob.ParseDigest(said); err == nil && claimed != d {
		return found{}, d, errWrongManifest
	}
	m := newFound(d, typeOf(rep), rep.body)
	if !isManifestType(m.mediaType) {
		if t := manifest.MediaType(rep.body); t != "" {
			m.mediaType = t
		}
	}
	if m.mediaType == "" {
		m.mediaType = octetStream
	}
	switch {
	case !rq.ref.IsTag():
		m.digest = rq.ref.String() // of whichever algorithm the client named it by
	case upstream.ValidDigest(said):
		m.digest = said
	}
	return m, d, nil
}

// learnTag notes what upstream said about a tag.
func (p *Proxy) learnTag(rq request, d blob.Digest, mediaType string) {
	p.tags.learn(rq.repo, rq.ref.String(), known{Digest: d, MediaType: mediaType})
	p.names.learn(rq.repo, d, name{Size: -1, Upstream: true})
}

// storedFor is stored for one request, whose share it takes. Without room for a manifest there is none.
func (p *Proxy) storedFor(ctx context.Context, rq request, d blob.Digest) (body []byte, mediaType string) {
	size, err := p.deps.Store.Size(d)
	if err != nil || size > manifest.MaxBody || rq.share.grow(ctx, size) != nil {
		return nil, ""
	}
	return p.stored(d)
}

// stored returns the manifest d if the store holds it, with its type; else nil. A blob that
// is no manifest is none.
func (p *Proxy) stored(d blob.Digest) (body []byte, mediaType string) {
	body, err := p.deps.Store.Bytes(d, manifest.MaxBody)
	if err != nil {
		if !errors.Is(err, ErrNotHeld) {
			p.log.Warn("manifest could not be read from the store", slog.String("digest", d.String()), slog.Any("error", err))
		}
		return nil, ""
	}
	if mediaType = manifest.MediaType(body); mediaType == "" {
		return nil, ""
	}
	return body, mediaType
}

// keep puts a manifest whose bytes hash to d into the store. A body that does not say what
// it is is not kept: it could not be served from there under its type.
func (p *Proxy) keep(d blob.Digest, body []byte) {
	if manifest.MediaType(body) == "" {
		return
	}
	if err := p.deps.Store.PutBytes(d, body); err != nil {
		p.log.Warn("manifest is not kept", slog.String("digest", d.String()), slog.Any("error", err))
	}
}

// begin notes what the manifest d refers to and, when a client wants its body, starts every
// layer of an image at once. Trusted says that upstream showed d to belong to the repository.
func (p *Proxy) begin(rq request, d blob.Digest, body []byte, trusted bool) {
	m, err := manifest.Parse(body)
	if err != nil {
		p.log.Debug("manifest is passed unread", slog.String("digest", d.String()), slog.Any("error", err))
		return
	}
	for _, child := range m.Children() {
		p.names.learn(rq.repo, child.Digest, name{Size: child.Size, Upstream: trusted})
	}
	for _, ref := range m.References() {
		// A foreign layer is elsewhere, and registries take a manifest that names one without
		// looking: it does not show the blob to belong to the repository.
		if ref.Role != manifest.Child && !ref.Foreign {
			p.names.learn(rq.repo, ref.Digest, name{Size: ref.Size, Image: d, Upstream: trusted})
		}
	}
	if rq.head || p.config.OnDemand {
		return
	}
	layers := m.Ahead()
	for _, layer := range layers[:min(len(layers), maxAhead)] {
		want := Want{Blob: layer.Digest, Size: layer.Size, Image: d, Source: rq.source}
		if err := p.deps.Blobs.Start(want); err != nil {
			p.log.Warn("layer is not started ahead", logBlob(want), slog.Any("error", err))
		}
	}
}

// logBlob is a blob in the log.
func logBlob(w Want) slog.Attr {
	return slog.Group("blob", slog.String("repository", w.Source.Repository.String()),
		slog.String("digest", w.Blob.String()), slog.Int64("size", int64(w.Size)))
}
