package containerd

import (
	"context"
	"slices"
	"time"

	"github.com/shoal-project/shoal/pkg/containerd/hoststoml"
)

const (
	// keepWait is between two questions whether Shoal answers, at first.
	keepWait = 500 * time.Millisecond
	// keepPause is between two looks at what was installed.
	keepPause = 30 * time.Second
	// keepLast is for taking out what was installed, in the end.
	keepLast = 10 * time.Second
)

// A KeepRequest says what Keep sees to.
type KeepRequest struct {
	Install InstallRequest
	// Ask asks Shoal whether it answers; usually the function of that name.
	Ask func(context.Context, hoststoml.Mirror) error
	// Tell is told of what was changed, and of an error when it is another than the last.
	Tell func(Changes, error)
}

// Keep makes containerd ask Shoal for as long as ctx lives: it installs when Shoal answers for
// the first time, and again when others, or a new configuration of containerd, have undone
// that. In the end it takes everything out, so that pulls go their old way at once, unless
// the request is to enforce: then there shall be no other way.
//
// Whether whoever ends it upgrades Shoal or removes it, it cannot tell. Both ways the next
// Keep finds what the last left.
func Keep(ctx context.Context, o Options, request KeepRequest) error {
	k := keeper{options: o, request: request}
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			return k.end(context.WithoutCancel(ctx))
		case <-pause.C:
			pause.Reset(k.look(ctx))
		}
	}
}

// A keeper is one Keep. It belongs to one goroutine.
type keeper struct {
	options   Options
	request   KeepRequest
	installed bool
	// failed is the last error, as it was told.
	failed string
}

// look installs if Shoal answers, and returns when to look again.
func (k *keeper) look(ctx context.Context) time.Duration {
	if err := k.request.Ask(ctx, k.options.Mirror); err != nil {
		k.tell(ctx, Changes{}, err)
		if k.installed {
			return keepPause
		}
		return keepWait
	}
	changes, err := k.with(func(n *Node) (Changes, error) { return n.Install(ctx, k.request.Install) })
	k.installed = k.installed || err == nil
	changes.Changes = slices.DeleteFunc(changes.Changes, func(c Change) bool { return c.Action == Unchanged || c.Action == Covered })
	k.tell(ctx, changes, err)
	return keepPause
}

func (k *keeper) end(ctx context.Context) error {
	if k.request.Install.Enforce {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, keepLast)
	defer cancel()
	changes, err := k.with(func(n *Node) (Changes, error) { return n.Uninstall(ctx, UninstallRequest{}) })
	if len(changes.Changes) > 0 {
		k.request.Tell(changes, nil)
	}
	return err
}

// with opens the node anew: containerd may have been configured anew since.
func (k *keeper) with(do func(*Node) (Changes, error)) (Changes, error) {
	n, err := Open(k.options)
	if err != nil {
		return Changes{}, err
	}
	changes, err := do(n)
	if closeErr := n.Close(); err == nil {
		err = closeErr
	}
	return changes, err
}

func (k *keeper) tell(ctx context.Context, changes Changes, err error) {
	if err == nil {
		k.failed = ""
		if len(changes.Changes) > 0 {
			k.request.Tell(changes, nil)
		}
		return
	}
	if ctx.Err() == nil && err.Error() != k.failed {
		k.failed = err.Error()
		k.request.Tell(changes, err)
	}
}
