package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/semaphore"

	"github.com/shoal-project/shoal/pkg/probeimage"
	"github.com/shoal-project/shoal/pkg/upstream"
)

// A Proxy serves clients. It is an http.Handler, safe for concurrent use. Everything it
// remembers is a cache, bounded, and owned by the part of it that is named in its type.
type Proxy struct {
	config    Config
	deps      Deps
	log       *slog.Logger
	hosts     hostList
	grants    *grants
	names     *names
	tags      *tagBook
	sightings sightings
	recall    recall
	probe     *probeDesk
	probes    chan probe
	probed    *lru.Cache[upstream.Repository, time.Time] // when a repository was last put into probes
	counters  counters
	places    *places
	room      *semaphore.Weighted // Config.MaxBuffered bytes
}

// New returns a Proxy that serves at once. Run does its work in the background.
func New(c Config, d Deps) (*Proxy, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if d.Upstream == nil || d.Blobs == nil || d.Store == nil || d.Log == nil {
		return nil, fmt.Errorf("%w: a part is missing", ErrConfig)
	}
	c = c.withDefaults()
	p := &Proxy{
		config: c, deps: d, log: d.Log, hosts: newHostList(c.Listen, c.Hosts), probes: make(chan probe, maxProbes),
		places: newPlaces(c.MaxRequests), room: semaphore.NewWeighted(int64(c.MaxBuffered)),
	}
	var err error
	if p.grants, err = newGrants(c); err != nil {
		return nil, err
	}
	if p.names, err = newNames(c); err != nil {
		return nil, err
	}
	if p.tags, err = newTagBook(c); err != nil {
		return nil, err
	}
	if p.recall, err = newRecall(); err != nil {
		return nil, err
	}
	if p.probe, err = newProbeDesk(); err != nil {
		return nil, err
	}
	if p.probed, err = lru.New[upstream.Repository, time.Time](c.MaxGrants); err != nil {
		return nil, err
	}
	p.loadTags()
	return p, nil
}

// A request is what one client wants, its parts checked.
type request struct {
	route
	// source is where the content is, and the client's Authorization header as it came.
	source upstream.Source
	// who stands for that header in every table.
	who    credID
	accept []string
	head   bool
	// share is the request's part of the memory for long answers.
	share *share
}

// ServeHTTP answers one client.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	kind, outcome := KindOther, OutcomeAborted
	defer func() { p.ended(ctx, kind, outcome, recover()) }()
	place := seatOf(ctx)
	w = &outlet{ResponseWriter: w, seat: place}
	confine(w.Header())
	w.Header().Set("Server", probeimage.Server)
	if r.ContentLength != 0 {
		hangUp(w)
	}
	// For answers that are written at once; the body of a blob sets its own, piece by piece.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(time.Minute + p.config.WriteStall))
	var fail *failure
	if p.places.take(place) {
		defer p.places.leave(place)
	} else {
		fail = unavailable("This node serves as many requests as it may. Ask the registry itself, or again later.")
	}
	if fail == nil {
		fail = p.guard(r)
	}
	if fail != nil {
		outcome = fail.Outcome
		fail.write(w)
		return
	}
	target, fail := parseRoute(r.URL, p.config)
	kind = target.kind
	if fail == nil && p.leadsBack(target.repo.Registry) {
		fail = notFound("NAME_UNKNOWN", "The name leads back to this server.")
	}
	if fail != nil {
		outcome = fail.Outcome
		fail.write(w)
		return
	}
	w.Header().Set("Docker-Distribution-API-Version", "registry/2.0")
	var err error
	outcome, err = p.serve(w, r, target)
	if err == nil {
		return
	}
	outcome = p.fail(ctx, w, target, err)
}

// ended counts a request. Whatever it panicked with, its connection is cut.
func (p *Proxy) ended(ctx context.Context, kind Kind, outcome Outcome, caught any) {
	p.counters.requests[kind][outcome].Add(1)
	if caught == nil {
		return
	}
	if err, ok := caught.(error); !ok || !errors.Is(err, http.ErrAbortHandler) {
		p.log.ErrorContext(ctx, "panic while serving a client",
			slog.Any("panic", caught), slog.String("stack", string(debug.Stack())))
	}
	panic(http.ErrAbortHandler)
}

// serve answers a request whose target was read. An error it returns was not yet answered,
// unless it is an abortedError.
func (p *Proxy) serve(w http.ResponseWriter, r *http.Request, target route) (Outcome, error) {
	if target.kind == KindPing {
		return p.servePing(w)
	}
	if isProbe(target.repo) {
		return p.probe.serve(w, r, target)
	}
	authorization := r.Header.Get("Authorization")
	credential, err := upstream.NewCredential(authorization)
	if err != nil {
		return OutcomeRefused, refused(http.StatusBadRequest, "UNSUPPORTED", "The Authorization header is malformed.")
	}
	rq := request{
		route:  target,
		source: upstream.Source{Repository: target.repo, Credential: credential},
		who:    p.grants.id(authorization),
		accept: r.Header.Values("Accept"),
		head:   r.Method == http.MethodHead,
		share:  &share{room: p.room},
	}
	defer rq.share.release()
	outcome, err := p.answerOf(w, r, rq)
	if away(err) && credential.IsZero() {
		if fail := p.recall.again(rq.repo.Registry, p.config.AuthStale); fail != nil {
			return fail.Outcome, fail
		}
	}
	return outcome, err
}

// answerOf hands the request to the part that answers it.
func (p *Proxy) answerOf(w http.ResponseWriter, r *http.Request, rq request) (Outcome, error) {
	target := rq.route
	switch {
	case target.kind == KindManifest && target.ref.IsTag():
		return p.serveTag(w, r, rq)
	case target.kind == KindManifest:
		return p.serveManifest(w, r, rq)
	case target.kind == KindBlob && target.digest.IsZero():
		return p.servePassed(w, r, rq)
	case target.kind == KindBlob:
		return p.serveBlob(w, r, rq)
	default:
		return p.serveList(w, r, rq)
	}
}

// servePing answers GET /v2/. It is this server's own: no upstream is named in it.
func (p *Proxy) servePing(w http.ResponseWriter) (Outcome, error) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", "2")
	_, _ = w.Write([]byte("{}")) // the client may be gone
	return OutcomeServed, nil
}

// fail answers a request that could not be served, or cuts its body when that has begun.
func (p *Proxy) fail(ctx context.Context, w http.ResponseWriter, target route, err error) Outcome {
	var fail *failure
	var aborted *abortedError
	switch {
	case errors.As(err, &aborted):
		if !errors.Is(err, errLeft) {
			p.log.WarnContext(ctx, "body of a blob was cut", slog.String("repository", target.repo.String()),
				slog.String("reference", target.ref.String()), slog.Any("error", err))
		}
		panic(http.ErrAbortHandler)
	case errors.As(err, &fail):
	default:
		fail = p.failureOf(err)
	}
	level := slog.LevelDebug
	if fail.Outcome == OutcomeUnavailable {
		level = slog.LevelWarn
	}
	p.log.Log(ctx, level, "request was not served", slog.String("repository", target.repo.String()),
		slog.String("reference", target.ref.String()), slog.Int("status", fail.Status), slog.Any("error", err))
	fail.write(w)
	return fail.Outcome
}

// Run does what no client waits for, until ctx ends: it saves last known tags, and finds out
// which repositories are public. Nothing of it is left behind when it returns.
func (p *Proxy) Run(ctx context.Context) error {
	var probing sync.WaitGroup
	probing.Go(func() { p.probePublic(ctx) })
	every := time.NewTicker(p.config.SaveEvery)
	defer every.Stop()
	for {
		select {
		case <-ctx.Done():
			probing.Wait()
			p.saveTags()
			return nil
		case <-every.C:
			p.saveTags()
		}
	}
}
