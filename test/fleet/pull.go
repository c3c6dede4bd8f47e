package fleet

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"os"
	"time"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/shoal-project/shoal/pkg/blob"
)

// ErrWrongBytes is wrapped when a proxy served bytes that do not hash to their digest.
var ErrWrongBytes = errors.New("WRONG BYTES")

// copyBuffer is how much is copied at once.
const copyBuffer = 128 << 10

// parallelBlobs is how many blobs containerd asks for at a time.
const parallelBlobs = 3

// Pull pulls the image through the node's proxy as a runtime would, and believes
// nothing: every byte is hashed, and written to a file that is removed in the end. advance is told how many bytes came; it may be nil.
func (n *Node) Pull(ctx context.Context, img Image, advance func(bytes int)) (time.Duration, error) {
	took, err := endpoint{"http://" + n.Listen, n.Dir}.pull(ctx, img, advance)
	if err != nil {
		return 0, fmt.Errorf("node %d: %w", n.Number, err)
	}
	return took, nil
}

// PullDirect pulls the image from the registry itself, in the same way. The files are
// below dir.
func PullDirect(ctx context.Context, url, dir string, img Image) (time.Duration, error) {
	return endpoint{url, dir}.pull(ctx, img, nil)
}

// An endpoint is the URL of whatever speaks the distribution protocol, and the folder for
// what comes from it.
type endpoint struct{ url, dir string }

func (e endpoint) pull(ctx context.Context, img Image, advance func(bytes int)) (time.Duration, error) {
	if advance == nil {
		advance = func(int) {}
	}
	start := time.Now()
	if err := e.fetch(ctx, "manifests/"+Tag, img.Manifest, -1, func(int) {}); err != nil {
		return 0, err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallelBlobs)
	for _, c := range img.Blobs {
		group.Go(func() error { return e.fetch(ctx, "blobs/"+c.Digest.String(), c.Digest, c.Size, advance) })
	}
	if err := group.Wait(); err != nil {
		return 0, err
	}
	return time.Since(start), nil
}

// fetch gets one object and checks its length and digest. A size of -1 is not checked.
func (e endpoint) fetch(ctx context.Context, object string, want blob.Digest, size blob.ByteCount, advance func(int)) error {
	body, err := e.get(ctx, object)
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }()
	file, err := os.CreateTemp(e.dir, "pulled-")
	if err != nil {
		return fmt.Errorf("get %s: %w", object, err)
	}
	defer func() {
		_ = file.Close()
		_ = os.Remove(file.Name())
	}()
	h := sha256.New()
	got, err := io.CopyBuffer(io.MultiWriter(file, &advancing{hash: h, advance: advance}), body, make([]byte, copyBuffer))
	if err != nil {
		return fmt.Errorf("get %s: after %d bytes: %w", object, got, err)
	}
	if digest := blob.Digest(h.Sum(nil)); digest != want || size >= 0 && blob.ByteCount(got) != size {
		return fmt.Errorf("%w: %s is %d bytes with digest %s, want %s", ErrWrongBytes, object, got, digest, want)
	}
	return nil
}

// get asks for an object of the repository, such as "manifests/latest".
func (e endpoint) get(ctx context.Context, object string) (io.ReadCloser, error) {
	target := e.url + "/v2/" + Repository + "/" + object + "?ns=" + RegistryName
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", object, err)
	}
	req.Header.Set("Accept", v1.MediaTypeImageManifest+", "+v1.MediaTypeImageIndex+", */*")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", object, err)
	}
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 512))
		_ = resp.Body.Close()
		return nil, fmt.Errorf("get %s: %s: %s", object, resp.Status, text)
	}
	return resp.Body, nil
}

type advancing struct {
	hash    hash.Hash
	advance func(bytes int)
}

func (a *advancing) Write(p []byte) (int, error) {
	a.advance(len(p))
	return a.hash.Write(p)
}
