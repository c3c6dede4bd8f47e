package proxy

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/upstream"
)

// Deps are the parts that a Proxy works with. Upstream, Blobs, Store and Log are needed; the
// others may be nil. All are used by many goroutines at once and outlive the Proxy.
type Deps struct {
	Upstream Upstream
	Blobs    Blobs
	Store    Store
	Members  Members
	Tags     Tags
	// Tokens reaches token servers, for Config.PublicProbe. Nil: none is asked.
	Tokens http.RoundTripper
	Log    *slog.Logger
}

// An Upstream asks registries. *upstream.Client is one.
type Upstream interface {
	// Forward sends one request and returns the answer as it came, whatever its status. It
	// leaves out challenges that must not be passed to clients.
	Forward(ctx context.Context, req upstream.Request) (*http.Response, error)
	// ReadBlob returns exactly n bytes of the blob from off on, or an error.
	ReadBlob(
		ctx context.Context, src upstream.Source, d blob.Digest, size, off, n blob.ByteCount,
	) (io.ReadCloser, error)
	// ShowsCertificate reports whether requests to the registry carry a certificate of this node's
	// own: then what the registry lets a stranger have here it may not let him have elsewhere.
	ShowsCertificate(registry string) bool
}

// A Want is a blob that somebody asked for, with what it takes to get it.
type Want struct {
	Blob  blob.Digest
	Size  blob.ByteCount
	Image blob.Digest // the manifest that names the blob; zero when it is not known
	// Source is where upstream is asked for it, with the credential that it accepted.
	Source upstream.Source
}

// Blobs downloads blobs: one download for each, however many ask.
type Blobs interface {
	// Start begins to download the blob in the background. It does not block.
	Start(want Want) error
	// Open joins the download of the blob, or opens it when it is proven already.
	Open(ctx context.Context, want Want) (Body, error)
}

// ErrWrongBytes means that upstream delivered bytes that do not hash to the digest. A Body
// whose bytes may have been given to the client before that was known ends with it.
var ErrWrongBytes = errors.New("upstream sent bytes that do not match the digest")

// A Body is one client's view of a blob. It is used by one goroutine.
type Body interface {
	Size() blob.ByteCount
	// Available blocks until at least one byte at off may be given to a client, and returns
	// how many in a row from there may: bytes that this node read from upstream, or all
	// of them once proven, which it reports. At off = Size it blocks until proven. It
	// returns an error wrapping ctx's when ctx ends first, one wrapping ErrWrongBytes when bytes
	// that it announced turned out wrong, and another when the download failed.
	Available(ctx context.Context, off blob.ByteCount) (n blob.ByteCount, proven bool, err error)
	// ReadAt reads bytes that Available announced.
	io.ReaderAt
	// File opens the whole blob once proven. The caller closes it.
	File() (*os.File, error)
	Close() error
}

// ErrNotHeld is returned by a Store that does not hold the blob.
var ErrNotHeld = errors.New("blob is not in the store")

// A Store keeps proven blobs. The proxy reads and writes only manifests in it.
type Store interface {
	// Bytes returns the blob if it is proven and no longer than limit. Errors wrap ErrNotHeld.
	Bytes(d blob.Digest, limit blob.ByteCount) ([]byte, error)
	// Size returns the size of the blob if it is proven. Errors wrap ErrNotHeld.
	Size(d blob.Digest) (blob.ByteCount, error)
	// PutBytes keeps p, which must hash to d.
	PutBytes(d blob.Digest, p []byte) error
}

// Members asks the other nodes.
type Members interface {
	// Resolve asks members what they know of the tag or digest ref, and returns one answer for each member
	// that knew something, until ctx ends. For a digest one answer with a manifest is enough
	// and ends it early. No answers is not an error; without members it returns at once.
	Resolve(ctx context.Context, repo upstream.Repository, ref upstream.Reference) ([]Answer, error)
}

// An Answer is what one member says about a tag or a digest. It is a claim.
type Answer struct {
	Digest    blob.Digest
	MediaType string
	Manifest  []byte // may be missing
	// Public says that the member saw upstream accept an anonymous request for the repository
	// lately (Config.StalePublic).
	Public bool
	// Age is how long ago upstream told the member what the tag means; 0 for a digest.
	Age time.Duration
}

// Tags keeps what upstream said last about tags, over restarts. TagFile is one.
type Tags interface {
	// Load returns what was saved last; nothing the first time.
	Load() ([]Tag, error)
	// Save replaces what was saved. It is called by one goroutine at a time.
	Save(tags []Tag) error
}

// A Tag is what upstream said last about a tag.
type Tag struct {
	Repository upstream.Repository
	Name       string
	Digest     blob.Digest
	MediaType  string
	// Seen is when upstream said so; Public when it last accepted an anonymous request for
	// the repository, zero for never.
	Seen, Public time.Time
}
