package containerd

import (
	"context"
	"errors"
)

// A Look is what a daemon wants to know of the containerd beside it.
type Look struct {
	// Effective is set where containerd asks Shoal first for the registries that Install was
	// asked for. Whether Shoal answers is not asked.
	Effective bool
	// DiscardsLayers is set where containerd keeps no layer once it is unpacked.
	DiscardsLayers bool
}

// ErrNoConfig means that there is no configuration of containerd's to look at, as in a
// container that does not see the machine's files.
var ErrNoConfig = errors.New("containerd has no configuration here")

// LookAt reads containerd's configuration and the hosts.toml files that it leads to. It fails
// when it cannot tell.
func LookAt(ctx context.Context, o Options) (_ Look, err error) {
	n, err := Open(o)
	if err != nil {
		return Look{}, err
	}
	defer func() { err = errors.Join(err, n.Close()) }()
	if n.config.Missing && n.config.Path == "" {
		return Look{}, ErrNoConfig
	}
	report, err := n.Check(ctx, CheckRequest{})
	return Look{Effective: report.Effective, DiscardsLayers: n.config.DiscardUnpackedLayers}, err
}
