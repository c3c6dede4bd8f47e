package prefetch

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/manifest"
	"github.com/shoal-project/shoal/pkg/upstream"
)

const (
	// maxBlobs bounds the blobs of one image; images have at most 128.
	maxBlobs = 512
	// maxNested bounds the indexes above an image.
	maxNested = 3
	// maxTries is how often one blob is tried: tokens end in the middle.
	maxTries = 3
	// reportEvery is how often progress is told.
	reportEvery = 500 * time.Millisecond
)

// Fetch brings an image here, and returns when all of it is proven and kept. It tells its progress to
// report, from one goroutine at a time, the last time when all is here. When ctx ends, downloads under way
// are left to the engine.
func (d Deps) Fetch(ctx context.Context, image Image, report func(Progress)) error {
	s, err := d.session(ctx, image.Repository)
	if err != nil {
		return err
	}
	found, blobs, err := s.resolve(ctx, image)
	if err != nil {
		return err
	}
	f := &fetch{session: s, image: found, blobs: blobs, before: map[blob.Digest]Part{}, progress: Progress{
		Image: image.String(), Digest: found, Blobs: len(blobs), Size: size(blobs),
	}}
	if f.before, err = d.Blobs.Parts(ctx); err != nil {
		return err
	}
	return f.run(ctx, report)
}

// resolve gets the manifests down to the image of this node's platform, keeps them, and returns the
// image's digest with its blobs.
func (s *session) resolve(ctx context.Context, image Image) (blob.Digest, []manifest.Descriptor, error) {
	ref := image.Reference
	for range maxNested {
		body, err := s.manifest(ctx, ref)
		if err != nil {
			return blob.Digest{}, nil, err
		}
		digest := blob.Digest(sha256.Sum256(body))
		if !ref.IsTag() && ref != upstream.DigestReference(digest) {
			return blob.Digest{}, nil, fmt.Errorf("%s sent another manifest than %s", s.repo.Registry, ref)
		}
		m, err := manifest.Parse(body)
		if err != nil {
			return blob.Digest{}, nil, fmt.Errorf("%s at %s: %w", ref, s.repo.Registry, err)
		}
		if err := s.deps.Store.PutBytes(digest, body); err != nil {
			return blob.Digest{}, nil, fmt.Errorf("keep the manifest: %w", err)
		}
		switch m.Kind() {
		case manifest.Image, manifest.Artifact:
			blobs := m.Ahead()
			if len(blobs) > maxBlobs {
				return digest, nil, fmt.Errorf("the image has %d blobs, at most %d are prefetched", len(blobs), maxBlobs)
			}
			return digest, blobs, nil
		case manifest.Index:
			child, err := choose(m.Children(), runtime.GOARCH)
			if err != nil {
				return blob.Digest{}, nil, err
			}
			ref = upstream.DigestReference(child)
		case manifest.Opaque:
			return blob.Digest{}, nil, errors.New("this is no image that Shoal can look into")
		}
	}
	return blob.Digest{}, nil, fmt.Errorf("more than %d indexes stand above the image", maxNested)
}

// choose picks the image for Linux on the architecture: of several the first whose variant is not given,
// else the last, for indexes list the newest variant last.
func choose(children []manifest.Descriptor, architecture string) (blob.Digest, error) {
	var fit []manifest.Descriptor
	var there []string
	for _, c := range children {
		if c.Platform.OS == "linux" && c.Platform.Architecture == architecture {
			fit = append(fit, c)
		}
		if p := c.Platform.String(); p != "" && !slices.Contains(there, p) {
			there = append(there, p)
		}
	}
	if len(fit) == 0 {
		return blob.Digest{}, fmt.Errorf("there is no image for linux/%s, only for: %s", architecture, strings.Join(there, ", "))
	}
	if plain := slices.IndexFunc(fit, func(c manifest.Descriptor) bool { return c.Platform.Variant == "" }); plain >= 0 {
		return fit[plain].Digest, nil
	}
	return fit[len(fit)-1].Digest, nil
}

// A fetch is the blobs of one image on their way.
type fetch struct {
	session *session
	image   blob.Digest
	blobs   []manifest.Descriptor
	before  map[blob.Digest]Part // what was in memory when it began

	mu       sync.Mutex
	done     map[blob.Digest]bool
	progress Progress
}

func (f *fetch) run(ctx context.Context, report func(Progress)) error {
	f.done = map[blob.Digest]bool{}
	group, ctx := errgroup.WithContext(ctx)
	for _, b := range f.blobs {
		group.Go(func() error { return f.download(ctx, b) })
	}
	ended := make(chan struct{})
	var telling sync.WaitGroup
	telling.Go(func() {
		ticker := time.NewTicker(reportEvery)
		defer ticker.Stop()
		for {
			f.tell(ctx, report)
			select {
			case <-ended:
				return
			case <-ticker.C:
			}
		}
	})
	err := group.Wait()
	close(ended)
	telling.Wait()
	if err == nil {
		f.tell(context.WithoutCancel(ctx), report)
	}
	return err
}

// download gets one blob, with a new token when the one before has ended.
func (f *fetch) download(ctx context.Context, b manifest.Descriptor) error {
	for try := 1; ; try++ {
		f.mu.Lock()
		source := f.session.source()
		f.mu.Unlock()
		err := f.session.deps.Blobs.Download(ctx, Want{Blob: b.Digest, Size: b.Size, Image: f.image, Source: source})
		if err == nil {
			f.mu.Lock()
			f.done[b.Digest] = true
			f.mu.Unlock()
			return nil
		}
		if try == maxTries || ctx.Err() != nil || !errors.Is(err, upstream.ErrUnauthorized) {
			return fmt.Errorf("blob %s: %w", b.Digest.Short(), err)
		}
		if err := f.renew(ctx, source); err != nil {
			return err
		}
	}
}

// renew gets another credential, unless one has come meanwhile.
func (f *fetch) renew(ctx context.Context, old upstream.Source) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.session.credential != old.Credential {
		return nil
	}
	f.session.credential = upstream.Credential{}
	_, err := f.session.manifest(ctx, upstream.DigestReference(f.image))
	return err
}

// tell reports how far the image is.
func (f *fetch) tell(ctx context.Context, report func(Progress)) {
	parts, err := f.session.deps.Blobs.Parts(ctx)
	if err != nil {
		return // the engine stops: so does the download
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.progress
	now.Done = len(f.done)
	now.Have, now.FromRegistry, now.FromPeers = 0, 0, 0
	for _, b := range f.blobs {
		part, before := parts[b.Digest], f.before[b.Digest]
		now.FromRegistry += max(0, part.FromRegistry-before.FromRegistry)
		now.FromPeers += max(0, part.FromPeers-before.FromPeers)
		if f.done[b.Digest] {
			part.Have = b.Size
		}
		now.Have += min(part.Have, b.Size)
	}
	report(now)
}
