package prefetch

import (
	"context"
	"net/http"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/credentials"
	"github.com/shoal-project/shoal/pkg/upstream"
)

// Deps are the parts that a Prefetcher works with. All are needed but Logins, and all are used by many
// goroutines at once.
type Deps struct {
	Upstream Upstream
	Blobs    Blobs
	Store    Store
	// Logins are this node's own; nil for none.
	Logins Logins
	// Insecure reports whether the operator has the registry reached without TLS. Only there a token server
	// may be, too. Nil: none is.
	Insecure func(registry string) bool
	// Tokens reaches token servers. It follows no redirect.
	Tokens http.RoundTripper
}

// An Upstream asks registries. *upstream.Client is one.
type Upstream interface {
	// Forward sends one request and returns the answer as it came, whatever its status.
	Forward(ctx context.Context, req upstream.Request) (*http.Response, error)
}

// Logins are this node's own.
type Logins interface {
	// Login returns the login for the registry, or the zero Login where there is none to use.
	Login(ctx context.Context, registry string) (credentials.Login, error)
}

// A Want is a blob of an image, and where it may be read.
type Want struct {
	Blob   blob.Digest
	Size   blob.ByteCount
	Image  blob.Digest // the manifest that names it
	Source upstream.Source
}

// Blobs downloads blobs.
type Blobs interface {
	// Download returns once the blob is proven and kept, or what went wrong.
	Download(ctx context.Context, want Want) error
	// Parts says how far the blobs are that are in memory.
	Parts(ctx context.Context) (map[blob.Digest]Part, error)
}

// A Part is how far a download is, in bytes.
type Part struct{ Have, FromRegistry, FromPeers blob.ByteCount }

// A Store keeps manifests.
type Store interface {
	// PutBytes keeps p, which must hash to d.
	PutBytes(d blob.Digest, p []byte) error
}

// A Progress is how far an image is.
type Progress struct {
	Image  string
	Digest blob.Digest // of the manifest of this node's platform; zero while it is not known
	// Blobs are those of the image, Done those that are proven.
	Blobs, Done int
	// Size is that of all blobs, Have what is here of them, in bytes. What came from the registry and from
	// peers counts also what had to be thrown away, and leaves out what was here before.
	Size, Have, FromRegistry, FromPeers blob.ByteCount
}
