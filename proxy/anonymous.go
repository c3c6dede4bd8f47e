package proxy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/shoal-project/shoal/pkg/upstream"
)

// Registries with bearer tokens want one from everybody: a public repository there never
// accepts a request without a credential, and a token does not say whether anybody could have
// it. So that such a repository too can be served while upstream is away, it is asked for
// once in a while as a stranger would: with a token that was given for no password.

const (
	// maxProbes bounds the repositories waiting to be asked for anonymously. More are left for later.
	maxProbes = 64
	// maxToken bounds the answer of a token server, in bytes.
	maxToken = 128 << 10
)

// A probe asks whether a stranger may have the manifest.
type probe struct {
	repo upstream.Repository
	ref  upstream.Reference
}

// wonder has Run find out whether the repository is public, if that is worth knowing.
func (p *Proxy) wonder(rq request) {
	if p.config.PublicProbe < 0 || p.config.StalePublic < 0 || p.deps.Tokens == nil {
		return
	}
	if scheme, _, _ := strings.Cut(rq.source.Credential.Authorization(), " "); !strings.EqualFold(scheme, "Bearer") {
		return
	}
	if asked, ok := p.probed.Get(rq.repo); ok && time.Since(asked) < p.config.PublicProbe {
		return
	}
	select {
	case p.probes <- probe{repo: rq.repo, ref: rq.ref}:
		p.probed.Add(rq.repo, time.Now())
	default:
	}
}

// probePublic asks for the repositories in p.probes, one by one, until ctx ends.
func (p *Proxy) probePublic(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case one := <-p.probes:
			limited, cancel := context.WithTimeout(ctx, p.config.UpstreamTimeout)
			public, err := p.strangerMay(limited, one)
			cancel()
			switch {
			case public:
				p.grants.letIn(one.repo, time.Now())
			case err == nil || errors.Is(err, errToken):
				p.grants.keepOut(one.repo)
			}
			p.tags.dirty.Store(true)
			if err != nil {
				p.log.DebugContext(ctx, "repository could not be asked for anonymously",
					slog.String("repository", one.repo.String()), slog.Any("error", err))
			}
		}
	}
}

// strangerMay reports whether upstream gives the manifest to somebody without a password.
func (p *Proxy) strangerMay(ctx context.Context, one probe) (bool, error) {
	head := manifestRequest(http.MethodHead, one.ref, []string{"*/*"})
	head.Repository = one.repo
	rep, err := p.exchange(ctx, head, nil)
	if err != nil || rep.status != http.StatusUnauthorized {
		return allows(rep, err)
	}
	challenges, err := upstream.ParseChallenges(rep.header.Values("WWW-Authenticate"))
	if err != nil {
		return false, err
	}
	for _, c := range challenges {
		if !strings.EqualFold(c.Scheme, "Bearer") {
			continue
		}
		token, err := p.strangersToken(ctx, c.Parameters)
		if err != nil {
			return false, err
		}
		if head.Credential, err = upstream.NewCredential("Bearer " + token); err != nil {
			return false, err
		}
		return allows(p.exchange(ctx, head, nil))
	}
	return false, nil
}

// errUndecided means that upstream neither let a stranger in nor kept him out.
var errUndecided = errors.New("upstream did not decide")

// allows reads the answer to a request for content.
func allows(rep *reply, err error) (bool, error) {
	switch {
	case err != nil:
		return false, err
	case rep.status == http.StatusOK:
		return true, nil
	case rep.status == http.StatusUnauthorized || rep.status == http.StatusForbidden || rep.status == http.StatusNotFound:
		return false, nil
	}
	return false, fmt.Errorf("%w: status %d", errUndecided, rep.status)
}

// errToken means that a stranger gets no token.
var errToken = errors.New("no anonymous token")

// strangersToken asks the token server of a bearer challenge without a credential (Distribution,
// "Token Authentication Specification"). Only over TLS and without redirects: the realm is
// upstream's choice, and must not lead to a service of this node's own network, whose answer
// upstream would then be told.
func (p *Proxy) strangersToken(ctx context.Context, challenge map[string]string) (string, error) {
	realm, err := url.Parse(challenge["realm"])
	if err != nil || realm.Scheme != "https" || realm.User != nil || realm.Host == "" {
		return "", fmt.Errorf("%w: the realm is no https URL", errToken)
	}
	query := realm.Query()
	for _, name := range []string{"service", "scope"} {
		if v := challenge[name]; v != "" {
			query.Set(name, v)
		}
	}
	realm.RawQuery = query.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, realm.String(), nil)
	if err != nil {
		return "", fmt.Errorf("%w: malformed realm", errToken)
	}
	res, err := p.deps.Tokens.RoundTrip(req)
	if err != nil {
		return "", fmt.Errorf("%w: the token server does not answer", errUndecided)
	}
	defer res.Body.Close() //nolint:errcheck // the answer was read, or the error is reported
	if res.StatusCode >= 500 || res.StatusCode == http.StatusTooManyRequests {
		return "", fmt.Errorf("%w: status %d of the token server", errUndecided, res.StatusCode)
	}
	if res.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%w: status %d", errToken, res.StatusCode)
	}
	var fields map[string]any
	if err := json.NewDecoder(io.LimitReader(res.Body, maxToken)).Decode(&fields); err != nil {
		return "", fmt.Errorf("%w: malformed answer", errToken)
	}
	for _, name := range []string{"token", "access_token"} {
		if token, ok := fields[name].(string); ok && token != "" {
			return token, nil
		}
	}
	return "", errToken
}
