package proxy

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"time"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/manifest"
	"github.com/shoal-project/shoal/pkg/upstream"
)

// What is served while upstream is away (away.go). The rule of who may have it is that of
// grants.lately; a 401, 403 or 404 never gets here.

// maxAnswers bounds the members whose word is weighed.
const maxAnswers = 256

// answers is what members said of one tag or digest, one answer each.
type answers []Answer

// askMembers asks members about the request's tag or digest, for at most wait.
func (p *Proxy) askMembers(ctx context.Context, rq request, wait time.Duration) answers {
	if p.deps.Members == nil {
		return nil
	}
	limited, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	got, err := p.deps.Members.Resolve(limited, rq.repo, rq.ref)
	if err != nil {
		p.log.DebugContext(ctx, "members could not be asked", slog.String("repository", rq.repo.String()), slog.Any("error", err))
	}
	return got[:min(len(got), maxAnswers)]
}

// manifest returns bytes that hash to d, from whichever member gave them; else nil.
func (a answers) manifest(d blob.Digest) []byte {
	for _, one := range a {
		if one.Digest == d && len(one.Manifest) > 0 && len(one.Manifest) <= int(manifest.MaxBody) &&
			sha256.Sum256(one.Manifest) == d && manifest.MediaType(one.Manifest) != "" {
			return one.Manifest
		}
	}
	return nil
}

// agreed returns the digest that more than half of the members name. A tie is no agreement.
func (a answers) agreed() (blob.Digest, bool) {
	votes := make(map[blob.Digest]int, len(a))
	for _, one := range a {
		if votes[one.Digest]++; 2*votes[one.Digest] > len(a) && !one.Digest.IsZero() {
			return one.Digest, true
		}
	}
	return blob.Digest{}, false
}

// public reports whether more than half of the members call the repository public.
func (a answers) public() bool {
	n := 0
	for _, one := range a {
		if one.Public {
			n++
		}
	}
	return 2*n > len(a)
}

// age is how long ago the last member was told that the tag means d.
func (a answers) age(d blob.Digest) time.Duration {
	age := time.Duration(math.MaxInt64)
	for _, one := range a {
		if one.Digest == d {
			age = min(age, max(one.Age, 0))
		}
	}
	return age
}

// serveStaleTag answers for a tag that could not be asked for because of cause. While upstream is there, that is the answer.
func (p *Proxy) serveStaleTag(ctx context.Context, w http.ResponseWriter, rq request, cause error) (Outcome, error) {
	if p.config.StaleTags == StaleOff || !away(cause) || ctx.Err() != nil {
		return OutcomeUnavailable, cause
	}
	if last, ok := p.tags.lookup(rq.repo, rq.ref.String()); ok && p.grants.lately(rq.repo, rq.who, KindManifest) {
		if body, mediaType := p.storedFor(ctx, rq, last.Digest); body != nil {
			p.names.learn(rq.repo, last.Digest, name{Size: blob.ByteCount(len(body)), Upstream: true})
			p.begin(rq, last.Digest, body, true)
			return p.answerStale(w, rq, newFound(last.Digest, mediaType, body), time.Since(last.Seen))
		}
	}
	if p.config.StaleTags != StaleMembers {
		return OutcomeUnavailable, cause
	}
	began := time.Now()
	said := p.askMembers(ctx, rq, p.config.MembersTimeout)
	d, ok := said.agreed()
	if !ok || !p.mayAnyway(rq, said) {
		p.sitOut(ctx, began)
		return OutcomeUnavailable, cause
	}
	body, mediaType := p.storedFor(ctx, rq, d)
	if body == nil {
		if body = said.manifest(d); body == nil {
			return OutcomeUnavailable, cause
		}
		mediaType = manifest.MediaType(body)
		p.keep(d, body)
	}
	p.names.learn(rq.repo, d, name{Size: blob.ByteCount(len(body))})
	p.begin(rq, d, body, false)
	return p.answerStale(w, rq, newFound(d, mediaType, body), said.age(d))
}

// answerStale sends what a tag stood for when it was last known, age ago.
func (p *Proxy) answerStale(w http.ResponseWriter, rq request, m found, age time.Duration) (Outcome, error) {
	p.log.Warn("tag is served as last known", slog.String("repository", rq.repo.String()),
		slog.String("tag", rq.ref.String()), slog.String("digest", m.digest), slog.Duration("age", age))
	m.warning = fmt.Sprintf(staleWarning, rq.repo.Registry, age.Round(time.Second))
	return p.answer(w, rq, m)
}

// mayAnyway reports whether the client may read the repository while upstream cannot be
// asked, by what this node saw or by what most members say.
func (p *Proxy) mayAnyway(rq request, said answers) bool {
	if p.grants.lately(rq.repo, rq.who, KindManifest) {
		return true
	}
	if p.config.StaleTags == StaleMembers && said.public() {
		p.grants.toldPublic(rq.repo)
		return true
	}
	return false
}

// serveStaleManifest answers for a digest that could not be asked for because of cause. A digest names
// the same bytes for ever, so nothing about the answer is stale; who may have it is the question, and only while upstream
// is away may this node answer that.
func (p *Proxy) serveStaleManifest(ctx context.Context, w http.ResponseWriter, rq request, cause error) (Outcome, error) {
	if rq.digest.IsZero() || !away(cause) || ctx.Err() != nil {
		return OutcomeUnavailable, cause
	}
	known, named := p.names.lookup(rq.repo, rq.digest, false)
	if named && p.grants.lately(rq.repo, rq.who, KindManifest) { // or what is here is not looked for: it could show
		if body, mediaType := p.storedFor(ctx, rq, rq.digest); body != nil {
			p.begin(rq, rq.digest, body, known.Upstream)
			return p.answer(w, rq, newFound(rq.digest, mediaType, body))
		}
	}
	began := time.Now()
	said := p.askMembers(ctx, rq, p.config.MembersTimeout)
	if !p.mayAnyway(rq, said) {
		p.sitOut(ctx, began)
		return OutcomeUnavailable, cause
	}
	body := said.manifest(rq.digest)
	switch held, _ := p.storedFor(ctx, rq, rq.digest); {
	case named && held != nil:
		body = held
	case body == nil:
		return OutcomeUnavailable, cause
	default:
		p.keep(rq.digest, body)
	}
	if !named {
		p.names.learn(rq.repo, rq.digest, name{Size: blob.ByteCount(len(body))})
	}
	p.begin(rq, rq.digest, body, known.Upstream)
	return p.answer(w, rq, newFound(rq.digest, manifest.MediaType(body), body))
}

// sitOut waits until members, asked since began, have had all the time that they may have. What they know
// ends the asking early, and who is refused must not see that.
func (p *Proxy) sitOut(ctx context.Context, began time.Time) {
	if p.deps.Members == nil {
		return
	}
	rest := time.NewTimer(p.config.MembersTimeout - time.Since(began))
	defer rest.Stop()
	select {
	case <-rest.C:
	case <-ctx.Done():
	}
}

// Lookup is this node's word to a member that asks about a tag or a digest: what upstream
// itself told this node, never what members did. It reports false when it knows nothing.
func (p *Proxy) Lookup(repo upstream.Repository, ref upstream.Reference) (Answer, bool) {
	said := Answer{Public: p.grants.public(repo) && !p.deps.Upstream.ShowsCertificate(repo.Registry)}
	if d, ok := ref.Digest(); ok {
		said.Digest = d
		if _, named := p.names.lookup(repo, d, true); !named {
			return Answer{}, false
		}
		said.Manifest, said.MediaType = p.stored(d)
		return said, said.Manifest != nil
	}
	last, ok := p.tags.lookup(repo, ref.String())
	if !ok {
		return Answer{}, false
	}
	said.Digest, said.MediaType, said.Age = last.Digest, last.MediaType, time.Since(last.Seen)
	if body, mediaType := p.stored(last.Digest); body != nil {
		said.Manifest, said.MediaType = body, mediaType
	}
	return said, true
}
