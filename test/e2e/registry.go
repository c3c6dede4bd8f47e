package e2e

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
)

// A Registry is a real one, the distribution project's, behind a front that counts.
type Registry struct {
	*Front

	Host string // host:port, as in image names

	lab     *Lab
	config  string
	tokens  *tokenServer // nil for a public registry
	process *Process
}

func (l *Lab) startRegistry(tokens *tokenServer) *Registry {
	l.t.Helper()
	l.plug(RegistryNode)
	host := l.net.address(l.net.host(RegistryNode)) + ":5000"
	socket := filepath.Join(l.run, "registry.sock")
	r := &Registry{
		Front: newFront(l, host, socket),
		Host:  host, lab: l, tokens: tokens,
		config: filepath.Join(l.dir, "registry.yml"),
	}
	if err := os.WriteFile(r.config, []byte(r.configuration(socket)), 0o600); err != nil {
		l.t.Fatal(err)
	}
	r.Up()
	l.t.Cleanup(r.Down)
	return r
}

func (r *Registry) configuration(socket string) string {
	lines := []string{
		"version: 0.1",
		"log: {level: error, accesslog: {disabled: true}}",
		"storage:",
		"  filesystem: {rootdirectory: " + filepath.Join(r.lab.dir, "registry") + "}",
		"  cache: {blobdescriptor: inmemory}",
		"  maintenance: {uploadpurging: {enabled: false}}",
		"http: {net: unix, addr: " + socket + ", relativeurls: true, secret: lab}",
	}
	if r.tokens != nil {
		lines = append(lines, "auth:", fmt.Sprintf("  token: {realm: %q, service: %s, issuer: %s, rootcertbundle: %q}",
			r.tokens.realm, tokenService, tokenIssuer, r.tokens.certificate))
	}
	return strings.Join(lines, "\n") + "\n"
}

// Up starts a registry that is down, with everything that was pushed.
func (r *Registry) Up() {
	r.lab.t.Helper()
	r.process = r.lab.Start("registry", "", r.lab.site.Tools.Registry, "serve", r.config)
	r.Open()
	r.process.Await(func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.URL()+"/v2/", nil)
		if err != nil {
			return err
		}
		answer, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		defer func() { _ = answer.Body.Close() }()
		if answer.StatusCode == http.StatusOK || answer.StatusCode == http.StatusUnauthorized {
			return nil
		}
		return fmt.Errorf("it answers %s", answer.Status)
	})
}

// Down kills the registry: from now on a connection to it is refused.
func (r *Registry) Down() {
	r.Close()
	r.process.Kill()
}

// Shape limits what the registry sends, as Node.Shape.
func (r *Registry) Shape(send string) {
	r.lab.t.Helper()
	r.lab.shape(RegistryNode, send, "")
}

// URL is where the registry is reached, without a path.
func (r *Registry) URL() string { return "http://" + r.Host }

// A pusher is the transport for pushing one repository. To a private registry it brings
// a token that the token server's key signed: the client library does not fetch one
// from a private address.
type pusher struct {
	registry   *Registry
	repository string
}

// RoundTrip implements http.RoundTripper.
func (p pusher) RoundTrip(r *http.Request) (*http.Response, error) {
	if p.registry.tokens != nil {
		token, err := p.registry.tokens.sign("pusher", []grant{
			{Type: "repository", Name: p.repository, Actions: []string{"pull", "push"}},
		})
		if err != nil {
			return nil, err
		}
		r = r.Clone(r.Context())
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return http.DefaultTransport.RoundTrip(r)
}
