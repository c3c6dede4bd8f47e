package containerd

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/shoal-project/shoal/pkg/containerd/hoststoml"
)

const (
	// keepWait is between two questions whether Shoal answers, at first.
	keepWait = 500 * time.Millisecond
	// keepPause is between two looks at what was installed.
	keepPause = 10 * time.Second
	// keepSilences are the answers that are waited for in vain, one after another, before
	// what was installed is taken out: one may be a busy moment of Shoal's.
	keepSilences = 2
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
// that. It takes everything out in the end, and for as long as something else than Shoal has
// the mirror's port, so that pulls go their old way at once, unless the request is to
// enforce: then there shall be no other way. It takes nothing out where nobody has the port:
// that costs a pull a refused connection.
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
	options Options
	request KeepRequest
	files   keptFiles
	// silences are the answers that were waited for in vain since the last that came.
	silences int
	// failed is the last error, as it was told.
	failed string
}

// keptFiles is what a keeper has done to containerd's files.
type keptFiles int

const (
	asFound keptFiles = iota // nothing, or not all: something of Shoal's may be there
	installed
	takenOut
)

// look installs if Shoal answers, and returns when to look again.
func (k *keeper) look(ctx context.Context) time.Duration {
	if err := k.request.Ask(ctx, k.options.Mirror); err != nil {
		return k.miss(ctx, err)
	}
	k.silences = 0
	changes, err := k.with(func(n *Node) (Changes, error) { return n.Install(ctx, k.request.Install) })
	k.files = installed
	if err != nil {
		k.files = asFound // or as far as it came
	}
	changes.Changes = slices.DeleteFunc(changes.Changes, func(c Change) bool { return c.Action == Unchanged || c.Action == Covered })
	k.tell(ctx, changes, err)
	return keepPause
}

// miss sees to it that no pull is led to a stranger, and returns when to look again.
func (k *keeper) miss(ctx context.Context, missed error) time.Duration {
	k.silences++
	if !errors.Is(missed, ErrSilent) {
		k.silences = 0
	}
	_, stranger := errors.AsType[*StrangerError](missed)
	var changes Changes
	if (stranger || k.silences >= keepSilences) && k.files != takenOut && !k.request.Install.Enforce {
		var err error
		if changes, err = k.uninstall(ctx); err == nil {
			k.files = takenOut
		}
		missed = errors.Join(missed, err)
	}
	k.tell(ctx, changes, missed)
	if k.files == installed && (k.silences == 0 || k.silences >= keepSilences) {
		return keepPause
	}
	return keepWait
}

func (k *keeper) uninstall(ctx context.Context) (Changes, error) {
	return k.with(func(n *Node) (Changes, error) { return n.Uninstall(ctx, UninstallRequest{}) })
}

func (k *keeper) end(ctx context.Context) error {
	if k.request.Install.Enforce {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, keepLast)
	defer cancel()
	changes, err := k.uninstall(ctx)
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

// tell tells of changes, and of an error that is another than the last.
func (k *keeper) tell(ctx context.Context, changes Changes, err error) {
	switch {
	case err == nil:
		k.failed = ""
	case ctx.Err() != nil || err.Error() == k.failed:
		err = nil
	default:
		k.failed = err.Error()
	}
	if err != nil || len(changes.Changes) > 0 {
		k.request.Tell(changes, err)
	}
}
