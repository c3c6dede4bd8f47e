package upstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/shoal-project/shoal/pkg/blob"
)

// Limits on what is forwarded in either direction.
const (
	maxAccepts      = 64
	maxAcceptBytes  = 16 << 10
	maxQueryBytes   = 4 << 10
	maxRangeBytes   = 256
	maxErrorBody    = 64 * blob.KiB
	maxManifestBody = 8 * blob.MiB // twice what registries accept
	maxListing      = 4 * blob.MiB // tags and referrers: registries answer longer ones in pages
)

// An Endpoint is one of the questions of the distribution specification's pull half.
type Endpoint int

// The endpoints.
const (
	EndpointPing      Endpoint = iota + 1 // GET /v2/
	EndpointManifest                      // /v2/NAME/manifests/REFERENCE
	EndpointBlob                          // /v2/NAME/blobs/DIGEST: HEAD, and GET for what ReadBlob cannot name
	EndpointTags                          // /v2/NAME/tags/list
	EndpointReferrers                     // /v2/NAME/referrers/DIGEST
)

// A Request is what a client asked, reduced to what may be passed on.
type Request struct {
	Method     string // GET or HEAD
	Endpoint   Endpoint
	Repository Repository // without Name for EndpointPing
	// Reference is the tag or digest of a manifest, or the digest of a blob or of the
	// subject of referrers.
	Reference Reference
	// Query is passed on for tags and referrers, except for ns, which is meant for mirrors.
	Query url.Values
	// Accept holds the values of all Accept headers.
	Accept []string
	// Range is a client's Range header for a blob, "" for none.
	Range      string
	Credential Credential
}

// Forward asks upstream what a client asked and returns the answer as it came, whatever
// its status: headers reduced to those that registries document, the body limited, an
// error's body read already and cut at 64 KiB. Challenges are passed by the rule of
// TLSVerified. Errors mean that there is no answer to pass on: ErrRequest,
// *UnreachableError, ErrRedirect, *InvalidResponseError, or how ctx ended. Reading the
// body may fail with *TruncatedError or *InvalidResponseError.
//
// ctx bounds the reading of the body too, and the body must be closed.
func (c *Client) Forward(ctx context.Context, r Request) (*http.Response, error) {
	path, err := r.path()
	if err != nil {
		return nil, err
	}
	registry := strings.ToLower(r.Repository.Registry)
	header, err := r.header()
	if err != nil {
		return nil, err
	}
	base, _ := c.base(registry)
	to := base.JoinPath(path)
	if to.RawQuery, err = r.query(); err != nil {
		return nil, err
	}
	k := call{method: r.Method, registry: registry, header: header, credential: r.Credential}
	a, err := c.follow(ctx, k, hop{url: to, trusted: true})
	if err != nil {
		return nil, err
	}
	return c.pass(k, r.Endpoint, a)
}

// pass makes a response of an answer, and takes over its body.
func (c *Client) pass(k call, e Endpoint, a *answer) (*http.Response, error) {
	resp := &http.Response{
		Status:     strconv.Itoa(a.status) + " " + http.StatusText(a.status),
		StatusCode: a.status,
		Proto:      "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header:        passable(a.header),
		ContentLength: int64(a.body.want),
		Body:          a.body,
	}
	if challenges := c.challenges(k.registry, a); len(challenges) > 0 {
		resp.Header["Www-Authenticate"] = challenges
	}
	if a.status < 200 || a.status > 299 {
		return passError(resp, k.method, encoded(a.header))
	}
	invalid := &InvalidResponseError{Registry: k.registry, Host: a.at.url.Host}
	if encoded(a.header) {
		a.body.discard()
		invalid.Reason = "it is encoded, which was not asked for"
		return nil, invalid
	}
	if k.method == http.MethodHead {
		_ = a.body.Close()
		resp.Body = http.NoBody
		return resp, nil
	}
	limit := e.limit()
	invalid.Reason, invalid.Long = fmt.Sprintf("a body of more than %d bytes", limit), true
	if a.body.want > limit {
		_ = a.body.Close()
		return nil, invalid
	}
	resp.Body = &limitedBody{body: a.body, left: limit, over: invalid}
	return resp, nil
}

// passError reads the body of an error, so that it cannot be confused with content and
// its length is known.
func passError(resp *http.Response, method string, encoded bool) (*http.Response, error) {
	body := resp.Body
	defer func() { _ = body.Close() }() // it was only read
	if resp.Body = http.NoBody; method == http.MethodHead {
		return resp, nil
	}
	text, err := io.ReadAll(io.LimitReader(body, int64(maxErrorBody)))
	var cut *TruncatedError
	if err != nil && !errors.As(err, &cut) {
		return nil, fmt.Errorf("reading an error of upstream: %w", err) // the caller is gone
	}
	if encoded {
		text = nil
	}
	resp.Body = io.NopCloser(bytes.NewReader(text))
	resp.ContentLength = int64(len(text))
	resp.Header.Set("Content-Length", strconv.Itoa(len(text)))
	return resp, nil
}

// passable returns the headers that a client may see.
func passable(from http.Header) http.Header {
	to := http.Header{}
	for _, name := range []string{
		"Content-Type", "Content-Length", "Content-Range", "Accept-Ranges",
		"Docker-Content-Digest", "Docker-Distribution-Api-Version",
		"Link", "Oci-Filters-Applied", "Oci-Subject", "Etag", "Warning", "Retry-After",
		"Ratelimit", "Ratelimit-Policy", "Ratelimit-Limit", "Ratelimit-Remaining", "Ratelimit-Reset",
		"Docker-Ratelimit-Source",
	} {
		if values := from[name]; len(values) > 0 {
			to[name] = values
		}
	}
	return to
}

// encoded reports whether a body is not the content itself.
func encoded(h http.Header) bool {
	for _, value := range h["Content-Encoding"] {
		if value != "" && !strings.EqualFold(value, "identity") {
			return true
		}
	}
	return false
}

// limit bounds the body of a good answer.
func (e Endpoint) limit() blob.ByteCount {
	switch e {
	case EndpointPing:
		return maxErrorBody
	case EndpointManifest:
		return maxManifestBody
	case EndpointTags, EndpointReferrers:
		return maxListing
	case EndpointBlob:
		return blob.MaxSize
	}
	return 0
}

// A limitedBody fails once it is longer than it may be.
type limitedBody struct {
	*body
	left blob.ByteCount
	over error
}

// Read implements io.Reader.
func (b *limitedBody) Read(p []byte) (int, error) {
	if b.left < 0 {
		return 0, b.over
	}
	if blob.ByteCount(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.body.Read(p)
	if b.left -= blob.ByteCount(n); b.left < 0 {
		return n - 1, b.over
	}
	return n, err
}

// path checks the request and returns its path.
func (r Request) path() (string, error) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return "", fmt.Errorf("%w: method %.16q", ErrRequest, r.Method)
	}
	if r.Endpoint == EndpointPing {
		if !ValidRegistry(r.Repository.Registry) {
			return "", fmt.Errorf("%w: %w: %.64q is no registry", ErrRequest, ErrName, r.Repository.Registry)
		}
		return "/v2/", nil
	}
	repository, err := ParseRepository(r.Repository.Registry, r.Repository.Name)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrRequest, err)
	}
	prefix := "/v2/" + repository.Name
	digest := !r.Reference.IsZero() && !r.Reference.IsTag()
	switch {
	case r.Endpoint == EndpointTags:
		return prefix + "/tags/list", nil
	case r.Endpoint == EndpointManifest && !r.Reference.IsZero():
		return prefix + "/manifests/" + r.Reference.String(), nil
	case r.Endpoint == EndpointBlob && digest:
		return prefix + "/blobs/" + r.Reference.String(), nil
	case r.Endpoint == EndpointReferrers && digest:
		return prefix + "/referrers/" + r.Reference.String(), nil
	}
	return "", fmt.Errorf("%w: endpoint %d with reference %.64q", ErrRequest, r.Endpoint, r.Reference)
}

// header returns the headers to send, Authorization and User-Agent excepted.
func (r Request) header() (http.Header, error) {
	h := http.Header{}
	total := 0
	for _, accept := range r.Accept {
		total += len(accept)
		if strings.ContainsFunc(accept, isControl) {
			return nil, fmt.Errorf("%w: control characters in Accept", ErrRequest)
		}
		h.Add("Accept", accept)
	}
	if total > maxAcceptBytes || len(r.Accept) > maxAccepts {
		return nil, fmt.Errorf("%w: %d bytes in %d Accept headers", ErrRequest, total, len(r.Accept))
	}
	if r.Range == "" {
		return h, nil
	}
	if r.Endpoint != EndpointBlob || len(r.Range) > maxRangeBytes || strings.ContainsFunc(r.Range, isControl) {
		return nil, fmt.Errorf("%w: Range", ErrRequest)
	}
	h.Set("Range", r.Range)
	return h, nil
}

// query returns the query to send, encoded.
func (r Request) query() (string, error) {
	if r.Endpoint != EndpointTags && r.Endpoint != EndpointReferrers {
		return "", nil
	}
	query := url.Values{}
	for key, values := range r.Query {
		if key != "ns" {
			query[key] = values
		}
	}
	encoded := query.Encode()
	if len(encoded) > maxQueryBytes {
		return "", fmt.Errorf("%w: a query of %d bytes", ErrRequest, len(encoded))
	}
	return encoded, nil
}
