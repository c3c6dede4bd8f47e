package prefetch

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/credentials"
	"github.com/shoal-project/shoal/pkg/manifest"
	"github.com/shoal-project/shoal/pkg/upstream"
)

const (
	// askWait bounds one small request to a registry or a token server.
	askWait = 30 * time.Second
	// maxToken bounds the answer of a token server, in bytes.
	maxToken = 128 << 10
)

// A RefusedError reports that the registry, or its token server, does not give this node the image.
type RefusedError struct {
	Registry string
	Status   int
	Login    bool // a login of this node's was shown
}

// Error says what to do about it.
func (e *RefusedError) Error() string {
	switch {
	case e.Status == http.StatusNotFound:
		return fmt.Sprintf("%s has no such image, or does not show it to this node (404); see the name, and the login in --credentials-file", e.Registry)
	case e.Login:
		return fmt.Sprintf("%s does not let this node's login pull it (%d); see the entry in --credentials-file", e.Registry, e.Status)
	default:
		return fmt.Sprintf("%s wants a login (%d); name it with --credentials-registry, and give its login in --credentials-file", e.Registry, e.Status)
	}
}

// A session asks one registry for one repository, with this node's own login where there is one. It is
// for one goroutine at a time.
type session struct {
	deps       Deps
	repo       upstream.Repository
	login      credentials.Login
	credential upstream.Credential // what the registry accepted last
}

func (d Deps) session(ctx context.Context, repo upstream.Repository) (*session, error) {
	s := &session{deps: d, repo: repo}
	if d.Logins == nil {
		return s, nil
	}
	login, err := d.Logins.Login(ctx, repo.Registry)
	s.login = login
	return s, err
}

// manifest gets one manifest, at most manifest.MaxBody long.
func (s *session) manifest(ctx context.Context, ref upstream.Reference) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, askWait)
	defer cancel()
	res, err := s.get(ctx, ref)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close() //nolint:errcheck // the answer was read, or the error is reported
	body, err := io.ReadAll(io.LimitReader(res.Body, int64(manifest.MaxBody)+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read the manifest from %s: %w", s.repo.Registry, err)
	case len(body) > int(manifest.MaxBody):
		return nil, fmt.Errorf("the manifest at %s is longer than %d bytes", s.repo.Registry, manifest.MaxBody)
	}
	return body, nil
}

// get asks for a manifest, and again with a credential when the registry wants one.
func (s *session) get(ctx context.Context, ref upstream.Reference) (*http.Response, error) {
	for try := 1; ; try++ {
		res, err := s.deps.Upstream.Forward(ctx, upstream.Request{
			Method: http.MethodGet, Endpoint: upstream.EndpointManifest, Repository: s.repo, Reference: ref,
			Accept: accepted, Credential: s.credential,
		})
		if err != nil {
			return nil, fmt.Errorf("ask %s: %w", s.repo.Registry, err)
		}
		if res.StatusCode == http.StatusOK {
			return res, nil
		}
		challenges := res.Header.Values("WWW-Authenticate")
		_ = res.Body.Close() // it is no answer that anybody reads
		switch {
		case res.StatusCode == http.StatusUnauthorized && try == 1:
			if err := s.authorize(ctx, challenges); err != nil {
				return nil, err
			}
		case res.StatusCode < http.StatusInternalServerError && res.StatusCode != http.StatusTooManyRequests:
			return nil, &RefusedError{s.repo.Registry, res.StatusCode, !s.login.IsZero()}
		default:
			return nil, fmt.Errorf("%s answers %d: try again later", s.repo.Registry, res.StatusCode)
		}
	}
}

// accepted are the types of manifests, in no order: digests, not types, decide.
var accepted = []string{ //nolint:gochecknoglobals // a constant
	"application/vnd.oci.image.index.v1+json", "application/vnd.oci.image.manifest.v1+json",
	manifest.MediaTypeDockerList, manifest.MediaTypeDockerManifest,
}

// authorize answers the registry's challenge.
func (s *session) authorize(ctx context.Context, values []string) error {
	challenges, err := upstream.ParseChallenges(values)
	if err != nil {
		return fmt.Errorf("%s asks for a login: %w", s.repo.Registry, err)
	}
	for _, c := range challenges {
		switch {
		case strings.EqualFold(c.Scheme, "Bearer") && s.login.RegistryToken != "":
			s.credential, err = upstream.NewCredential("Bearer " + s.login.RegistryToken)
			return err
		case strings.EqualFold(c.Scheme, "Bearer"):
			token, err := s.token(ctx, c.Parameters)
			if err != nil {
				return err
			}
			s.credential, err = upstream.NewCredential("Bearer " + token)
			return err
		case strings.EqualFold(c.Scheme, "Basic") && s.login.Name != "":
			s.credential, err = upstream.NewCredential("Basic " + s.basic())
			return err
		}
	}
	return &RefusedError{s.repo.Registry, http.StatusUnauthorized, !s.login.IsZero()}
}

func (s *session) basic() string {
	return base64.StdEncoding.EncodeToString([]byte(s.login.Name + ":" + s.login.Password))
}

// errToken means that the token server gave none.
var errToken = errors.New("no token from the token server")

// token asks the token server of a bearer challenge for a token that is good for pulling this
// repository, and nothing else, whatever the challenge says (Distribution, "Token Authentication
// Specification" and "OAuth2 Token Authentication").
func (s *session) token(ctx context.Context, challenge map[string]string) (string, error) {
	realm, err := url.Parse(challenge["realm"])
	if err != nil || realm.Host == "" || realm.User != nil || realm.Scheme != "https" && realm.Scheme != "http" {
		return "", fmt.Errorf("%w: the registry %s names no URL of one", errToken, s.repo.Registry)
	}
	if realm.Scheme != "https" && (s.deps.Insecure == nil || !s.deps.Insecure(s.repo.Registry)) {
		return "", fmt.Errorf("%w: %s sends to %s, which is not https", errToken, s.repo.Registry, realm.Host)
	}
	req, err := s.tokenRequest(ctx, realm, challenge["service"])
	if err != nil {
		return "", fmt.Errorf("%w: malformed URL", errToken)
	}
	res, err := s.deps.Tokens.RoundTrip(req)
	if err != nil { // its text may repeat the URL
		return "", fmt.Errorf("%w: %s does not answer", errToken, realm.Host)
	}
	defer res.Body.Close() //nolint:errcheck // the answer was read, or the error is reported
	switch {
	case res.StatusCode == http.StatusUnauthorized || res.StatusCode == http.StatusForbidden || res.StatusCode == http.StatusBadRequest:
		return "", &RefusedError{s.repo.Registry, res.StatusCode, !s.login.IsZero()}
	case res.StatusCode != http.StatusOK:
		return "", fmt.Errorf("%w: %s answers %d", errToken, realm.Host, res.StatusCode)
	}
	var fields struct {
		Token  string `json:"token"`
		Access string `json:"access_token"`
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, maxToken)).Decode(&fields); err != nil {
		return "", fmt.Errorf("%w: the answer of %s is malformed", errToken, realm.Host)
	}
	if fields.Token == "" {
		fields.Token = fields.Access
	}
	if fields.Token == "" {
		return "", fmt.Errorf("%w: the answer of %s holds none", errToken, realm.Host)
	}
	return fields.Token, nil
}

func (s *session) tokenRequest(ctx context.Context, realm *url.URL, service string) (*http.Request, error) {
	scope := "repository:" + s.repo.Name + ":pull"
	if s.login.IdentityToken != "" {
		form := url.Values{
			"grant_type": {"refresh_token"}, "refresh_token": {s.login.IdentityToken},
			"service": {service}, "scope": {scope}, "client_id": {"shoal"},
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, realm.String(), strings.NewReader(form.Encode()))
		if err == nil {
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		return req, err
	}
	query := realm.Query()
	query.Set("scope", scope)
	if service != "" {
		query.Set("service", service)
	}
	realm.RawQuery = query.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, realm.String(), http.NoBody)
	if err == nil && s.login.Name != "" {
		req.Header.Set("Authorization", "Basic "+s.basic())
	}
	return req, err
}

// source is where the engine may read the repository's blobs.
func (s *session) source() upstream.Source {
	return upstream.Source{Repository: s.repo, Credential: s.credential}
}

// size adds up descriptors, in bytes.
func size(blobs []manifest.Descriptor) (sum blob.ByteCount) {
	for _, b := range blobs {
		sum += b.Size
	}
	return sum
}
