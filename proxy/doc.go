// Package proxy is what a client sees of Shoal: the pull half of the OCI distribution
// specification (v1.1, "Pull", "Listing Tags", "Listing Referrers") as an http.Handler.
//
// It decides who may have what and how an answer looks on the wire; it does not fetch a
// layer, hash one or keep one. Those come through the interfaces in deps.go, which
// pkg/daemon joins with the engine, the store, the registry client and the members.
//
// # Naming the upstream
//
// The registry is ?ns= when it is given, else the first component of the name when that
// looks like a host (it holds a '.' or a ':', or is "localhost"), else
// Config.DefaultRegistry. With ns the rest of the path is the repository as written.
// Without it a repository of one component on docker.io is an official one and gets its
// "library/": that is what Docker Engine's registry-mirrors and podman's locations mean.
//
// One repository is the proxy's own, in every registry: that of the probe image (pkg/probeimage),
// by which a node finds out whether its pulls come here.
//
// # Answers
//
// Everything that can fail is decided before the headers, where 404 and 503 are cheap:
// the client goes to its next host. After them a failure closes the connection with FIN
// (http.ErrAbortHandler), upon which containerd resumes; the body is never ended short.
// A client never sees 408, 429 or another 5xx than 503 (500 for a bug of this package):
// it would retry the first two in vain.
//
// A blob that is not proven is sent only as far as this node read it from upstream itself
// (design, P1), less a reserve that is dripped while nothing else comes. One range, open,
// suffix or unaligned, is answered with 206; several with multipart/byteranges on a
// proven blob, and with the one range that covers them on another. A malformed Range
// header is ignored (RFC 9110, section 14.2).
//
// # Who may pull
//
// Upstream decides (design, P4): content that lies here is served to a credential that
// upstream accepted for that repository within Config.GrantTTL, and only content that
// upstream showed to belong to that repository. While upstream is out of reach the
// credentials accepted lately, and for repositories known to be public anybody, are served;
// see grants.go and anonymous.go.
package proxy
