package proxy

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/upstream"
)

// A route is what a request path names. Its parts follow their grammars: they can be put
// into a URL, a file name or a log line as they are.
type route struct {
	kind Kind
	repo upstream.Repository
	// ref is the tag or the digest; zero for a ping and for tags.
	ref upstream.Reference
	// digest is ref when that is a SHA-256 digest, else zero.
	digest blob.Digest
	// ns says that ?ns= named the registry.
	ns bool
}

// parseRoute reads the target of a request. A nil failure means that the route is one to serve.
func parseRoute(target *url.URL, c Config) (route, *failure) {
	if target.Path == "/v2" || target.Path == "/v2/" {
		return route{kind: KindPing}, nil
	}
	rest, ok := strings.CutPrefix(target.Path, "/v2/")
	if !ok {
		return route{}, notFound("NAME_UNKNOWN", "Only paths under /v2/ are served here.")
	}
	r, path, fail := cutPath(rest)
	if fail != nil {
		return r, fail
	}
	if r.repo, r.ns, fail = parseRepository(path, target, c); fail != nil {
		return r, fail
	}
	return r, nil
}

// cutPath splits what follows /v2/ into the name and the rest, from its end: a component of
// a name may be called "manifests" or "blobs" too.
func cutPath(rest string) (r route, path string, _ *failure) {
	unknown := notFound("NAME_UNKNOWN", "The path names nothing that a registry serves to a pull.")
	front, ref, ok := cutLast(rest)
	if !ok {
		return r, "", unknown
	}
	path, verb, ok := cutLast(front)
	if !ok || path == "" {
		return r, "", unknown
	}
	switch {
	case verb == "tags" && ref == "list":
		r.kind = KindTags
		return r, path, nil
	case verb == "manifests":
		r.kind = KindManifest
	case verb == "blobs":
		r.kind = KindBlob
	case verb == "referrers":
		r.kind = KindReferrers
	default:
		return r, "", unknown
	}
	var err error
	if r.ref, err = upstream.ParseReference(ref); err != nil && r.kind == KindReferrers {
		return r, "", noSubject()
	} else if err != nil {
		return r, "", notFound("MANIFEST_UNKNOWN", "The reference is neither a tag nor a digest.")
	}
	switch {
	case r.kind == KindBlob && r.ref.IsTag():
		return r, "", notFound("DIGEST_INVALID", "The path holds no digest that a blob can have.")
	case r.kind == KindReferrers && r.ref.IsTag():
		return r, "", noSubject()
	}
	r.digest, _ = r.ref.Digest()
	return r, path, nil
}

// noSubject is the answer that the distribution specification, "Listing Referrers", asks for; a 404
// would say that this is no such API.
func noSubject() *failure {
	return refused(http.StatusBadRequest, "DIGEST_INVALID", "The path holds no digest that a manifest can have.")
}

// cutLast splits s at its last slash.
func cutLast(s string) (before, after string, ok bool) {
	i := strings.LastIndexByte(s, '/')
	if i < 0 {
		return "", s, false
	}
	return s[:i], s[i+1:], true
}

// parseRepository finds the registry and the repository: see the package comment.
func parseRepository(path string, target *url.URL, c Config) (repo upstream.Repository, ns bool, _ *failure) {
	query, err := url.ParseQuery(target.RawQuery)
	if err != nil {
		return repo, false, notFound("NAME_INVALID", "The query of the request is malformed.")
	}
	registry, name := c.DefaultRegistry, path
	named, ns := query["ns"]
	if ns {
		if len(named) != 1 || !upstream.ValidRegistry(named[0]) {
			return repo, ns, notFound("NAME_INVALID", "The ns parameter is not the host of one registry.")
		}
		registry = named[0]
	} else if first, rest, ok := strings.Cut(path, "/"); ok && looksLikeHost(first) {
		registry, name = first, rest
	}
	registry = canonical(registry)
	if !ns && registry == dockerHub && !strings.Contains(name, "/") {
		name = "library/" + name
	}
	if repo, err = upstream.ParseRepository(registry, name); err != nil {
		return repo, ns, notFound("NAME_INVALID", "The name does not follow the grammar of repository names.")
	}
	return repo, ns, nil
}

// dockerHub is the name of Docker Hub in image names.
const dockerHub = "docker.io"

// canonical is the one name of a registry: its host in lower case, docker.io for Docker Hub.
func canonical(host string) string {
	host = strings.ToLower(host)
	switch host {
	case "index.docker.io", "registry-1.docker.io":
		return dockerHub
	}
	return host
}

// looksLikeHost tells a registry from the first component of a name, as clients do.
func looksLikeHost(s string) bool { return strings.ContainsAny(s, ".:") || s == "localhost" }

// linkBack writes the Link header of a list so that it leads through this server again
// (distribution specification, "Listing Tags"): upstream's query, the client's path and ns.
// It returns "" for a header that is no link to a next page.
func linkBack(header string, r *http.Request, ns bool) string {
	target, params, ok := strings.Cut(strings.TrimPrefix(header, "<"), ">")
	if !ok || !strings.HasPrefix(header, "<") || !isNext(params) {
		return ""
	}
	next, err := url.Parse(target)
	if err != nil {
		return ""
	}
	query, err := url.ParseQuery(next.RawQuery)
	if err != nil {
		return ""
	}
	query.Del("ns")
	if ns {
		query.Set("ns", r.URL.Query().Get("ns"))
	}
	back := url.URL{Path: r.URL.Path, RawQuery: query.Encode()}
	return "<" + back.String() + `>; rel="next"`
}

// isNext reports whether the parameters of a link say rel=next.
func isNext(params string) bool {
	for p := range strings.SplitSeq(params, ";") {
		k, v, _ := strings.Cut(strings.TrimSpace(p), "=")
		if strings.EqualFold(k, "rel") && strings.EqualFold(strings.Trim(v, `"`), "next") {
			return true
		}
	}
	return false
}
