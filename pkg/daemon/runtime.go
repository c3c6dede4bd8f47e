package daemon

import (
	"context"
	"errors"
	"path/filepath"
	"sync"

	"github.com/shoal-project/shoal/pkg/admin"
	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/config"
	"github.com/shoal-project/shoal/pkg/containerd"
	"github.com/shoal-project/shoal/pkg/containerd/hoststoml"
	"github.com/shoal-project/shoal/pkg/content"
	"github.com/shoal-project/shoal/pkg/content/socket"
	"github.com/shoal-project/shoal/pkg/engine"
	"github.com/shoal-project/shoal/pkg/store"
)

// A runtime is the containerd beside this node: what it keeps is offered, and not kept twice.
// No pull needs it.
type runtime struct {
	socket  *socket.Socket
	content *content.Content // nil: what it keeps is not offered

	mu        sync.Mutex
	layers    layers
	effective *bool // whether it asks Shoal first; nil: that cannot be told
}

// layers says what becomes of containerd's layers once they are unpacked.
type layers int

const (
	notLooked layers = iota // at the configuration
	unknown                 // it cannot be seen
	kept
	dropped
)

func openRuntime(n *node) (*runtime, error) {
	r := &runtime{}
	if n.cfg.ContainerdContent == "" {
		return r, nil
	}
	var err error
	if r.socket, err = socket.Open(n.cfg.ContainerdSocket, n.cfg.ContainerdNamespace); err != nil {
		return nil, err
	}
	r.content, err = content.New(content.Config{
		Dir: n.cfg.ContainerdContent, StateDir: filepath.Join(n.cfg.DataDir, "containerd"),
		Runtime: r.socket, Rate: n.cfg.ContainerdRate, Log: n.log, Timing: n.timing.content,
		OnProven: n.offer, OnGone: n.withdraw,
	})
	if err != nil {
		return nil, errors.Join(err, r.close())
	}
	return r, nil
}

func (r *runtime) close() error {
	if r.socket == nil {
		return nil
	}
	return r.socket.Close()
}

// get opens a proven blob that containerd keeps, as the engine wants it.
func (r *runtime) get(d blob.Digest) (engine.Proven, error) {
	if r.content == nil {
		return nil, content.ErrNotHeld
	}
	found, err := r.content.Get(d)
	if err != nil {
		return nil, err
	}
	return found, nil
}

// list is what containerd keeps, as far as it is proven.
func (r *runtime) list() []content.Layer {
	if r.content == nil {
		return nil
	}
	return r.content.List()
}

// offer announces a blob that containerd keeps.
func (n *node) offer(d blob.Digest) {
	if n.swarm.announcer != nil {
		n.swarm.announcer.Provide(d)
	}
}

// withdraw ends what offer began, unless the store has the blob as well.
func (n *node) withdraw(d blob.Digest) {
	n.engine.LetGo(d)
	if held, err := n.store.Get(d); err == nil {
		_ = held.Close() // it was not even read
		return
	}
	if n.swarm.announcer != nil {
		n.swarm.announcer.withdraw(d)
	}
}

// runRuntime follows containerd until ctx ends.
func (n *node) runRuntime(ctx context.Context) error {
	var all sync.WaitGroup
	defer all.Wait()
	all.Go(func() {
		n.lookAtConfig(ctx)
		_ = every(ctx, n.timing.look, func(ctx context.Context) error {
			n.lookAtConfig(ctx)
			return nil
		})
	})
	if n.runtime.content == nil {
		return nil
	}
	all.Go(func() {
		_ = every(ctx, n.timing.dedupe, func(context.Context) error {
			n.dedupe()
			return nil
		})
	})
	return n.runtime.content.Run(ctx)
}

// lookAtConfig finds out what containerd's configuration means for this node.
func (n *node) lookAtConfig(ctx context.Context) {
	mirror, mirrorErr := hoststoml.ParseMirror(n.cfg.Listen)
	look, err := containerd.LookAt(ctx, containerd.Options{
		Root: n.cfg.ContainerdRoot, HostsDir: n.cfg.ContainerdHostsDir, Release: n.cfg.ContainerdRelease, Mirror: mirror,
	})
	r := n.runtime
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case !look.Configured:
		r.layers = unknown
	case look.DiscardsLayers:
		r.layers = dropped
	default:
		r.layers = kept
	}
	r.effective = nil
	if err = errors.Join(mirrorErr, err); err != nil {
		n.log.DebugContext(ctx, "whether containerd asks this node cannot be told", "err", err)
		return
	}
	r.effective = &look.Effective
}

// dedupe removes from the store what containerd keeps: what it has kept for a while, and for
// longer where nobody knows whether it drops layers once an image is unpacked.
func (n *node) dedupe() {
	n.runtime.mu.Lock()
	layers := n.runtime.layers
	n.runtime.mu.Unlock()
	long := n.timing.kept
	switch {
	case n.cfg.StoreDedupe == config.DedupeOff, layers == notLooked, layers == dropped:
		return
	case layers == unknown:
		long = n.timing.unsure
	}
	for _, l := range n.store.List() {
		if !l.Proven || !n.runtime.content.Kept(l.Digest, long) {
			continue
		}
		switch err := n.store.Delete(l.Digest); {
		case err == nil:
			n.engine.LetGo(l.Digest)
			n.log.Debug("blob is not kept twice", "blob", l.Digest.String(), "bytes", int64(l.Size))
		case !errors.Is(err, store.ErrNotFound):
			n.log.Warn("blob is kept twice", "blob", l.Digest.String(), "err", err)
		}
	}
}

// status is what shoal status says of containerd.
func (r *runtime) status() admin.Containerd {
	r.mu.Lock()
	s := admin.Containerd{MirrorEffective: r.effective}
	r.mu.Unlock()
	if r.content == nil {
		s.Reason = "containerd-content is empty"
		return s
	}
	stats := r.content.Stats()
	s.Followed = stats.Lost == nil
	if stats.Lost != nil {
		s.Reason = stats.Lost.Error()
	}
	s.Blobs, s.Bytes, s.Waiting, s.WaitingBytes = stats.Blobs, stats.BlobBytes, stats.Waiting, stats.WaitingBytes
	return s
}
