package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/shoal-project/shoal/pkg/admin"
	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/credentials"
	"github.com/shoal-project/shoal/pkg/engine"
	"github.com/shoal-project/shoal/pkg/prefetch"
	"github.com/shoal-project/shoal/pkg/store"
)

// Prefetch implements admin.Prefetcher.
func (n *node) Prefetch(ctx context.Context, reference string, report func(admin.Prefetch)) error {
	image, err := prefetch.ParseImage(reference)
	if err != nil {
		return err
	}
	n.log.InfoContext(ctx, "prefetching an image", "image", image.String())
	deps := prefetch.Deps{
		Upstream: n.upstream, Blobs: fetched{n.engine, n.store, n.runtime}, Store: manifests{n.store, n.runtime, n.disk.tell},
		Tokens: n.tokens, Insecure: n.insecure,
	}
	if n.cfg.CredentialsFile != "" {
		warn := func(sentence string) { n.log.WarnContext(ctx, "credentials", "warning", sentence) }
		deps.Logins = logins{credentials.Keeper{Path: n.cfg.CredentialsFile, Warn: warn}, n.cfg.CredentialsRegistries}
	}
	return deps.Fetch(ctx, image, func(p prefetch.Progress) { report(prefetchStatus(p)) })
}

func prefetchStatus(p prefetch.Progress) admin.Prefetch {
	out := admin.Prefetch{
		Image: p.Image, Blobs: p.Blobs, Done: p.Done, Size: p.Size, Have: p.Have,
		FromRegistry: p.FromRegistry, FromPeers: p.FromPeers,
	}
	if !p.Digest.IsZero() {
		out.Digest = &p.Digest
	}
	return out
}

// insecure reports whether a setting has the registry reached without TLS.
func (n *node) insecure(registry string) bool {
	return strings.HasPrefix(n.cfg.Upstreams[registry], "http://")
}

// logins are those of the registries that the settings name, and of no other.
type logins struct {
	keeper     credentials.Keeper
	registries []string
}

// Login implements prefetch.Logins.
func (l logins) Login(ctx context.Context, registry string) (credentials.Login, error) {
	if !slices.Contains(l.registries, registry) {
		return credentials.Login{}, nil
	}
	return l.keeper.Login(ctx, registry)
}

// fetched is the engine as prefetch wants it.
type fetched struct {
	engine  *engine.Engine
	store   *store.Store
	runtime *runtime
}

const (
	// keptWait is how long a proven blob may take into its place: the disk syncs it.
	keptWait  = time.Minute
	keptEvery = 20 * time.Millisecond
)

// Download implements prefetch.Blobs.
func (f fetched) Download(ctx context.Context, want prefetch.Want) error {
	body, err := f.engine.Open(engine.Want(want))
	if err != nil {
		return err
	}
	defer body.Close() //nolint:errcheck // nothing is read of it
	if _, _, err := body.Available(ctx, want.Size); err != nil {
		return err
	}
	return f.kept(ctx, want.Blob)
}

// kept waits until the store has the blob in its place, or containerd's content does.
func (f fetched) kept(ctx context.Context, d blob.Digest) error {
	limited, cancel := context.WithTimeout(ctx, keptWait)
	defer cancel()
	look := time.NewTicker(keptEvery)
	defer look.Stop()
	for {
		proven, err := f.store.Get(d)
		if err == nil {
			return proven.Close()
		}
		if !errors.Is(err, store.ErrNotFound) {
			return err
		}
		if elsewhere, err := f.runtime.get(d); err == nil {
			return elsewhere.Close()
		}
		select {
		case <-look.C:
		case <-limited.Done():
			return fmt.Errorf("the blob is not kept: is the disk full? see shoal status: %w", context.Cause(limited))
		}
	}
}

// Parts implements prefetch.Blobs.
func (f fetched) Parts(ctx context.Context) (map[blob.Digest]prefetch.Part, error) {
	downloads, err := f.engine.Downloads(ctx)
	if err != nil {
		return nil, err
	}
	parts := make(map[blob.Digest]prefetch.Part, len(downloads))
	for _, d := range downloads {
		parts[d.Blob] = prefetch.Part{Have: d.Have, FromRegistry: d.FromUpstream, FromPeers: d.FromPeers}
	}
	return parts, nil
}
