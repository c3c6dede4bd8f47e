package containerd

import (
	"context"
	"errors"
	"path"
)

// A Look is what a daemon wants to know of the containerd beside it.
type Look struct {
	// Effective is set where containerd asks Shoal first for the registries that Install was
	// asked for. Whether Shoal answers is not asked.
	Effective bool
	// Configured is set where containerd's configuration was read. With Options.HostsDir it is not.
	Configured bool
	// DiscardsLayers is set where that says that no layer is kept once it is unpacked.
	DiscardsLayers bool
}

// What there may not be to look at, as in a container that does not see the machine's files.
var (
	ErrNoConfig = errors.New("containerd has no configuration here")
	ErrNoFolder = errors.New("no folder that containerd's config_path names is here")
)

// LookAt reads containerd's configuration and the hosts.toml files that it leads to. It fails
// when it cannot tell. With ErrNoFolder the Look says what the configuration itself says.
func LookAt(ctx context.Context, o Options) (_ Look, err error) {
	n, err := Open(o)
	if err != nil {
		return Look{}, err
	}
	defer func() { err = errors.Join(err, n.Close()) }()
	if n.config.Missing && n.config.Path == "" {
		return Look{}, ErrNoConfig
	}
	look := Look{Configured: o.HostsDir == "" && !n.config.Missing, DiscardsLayers: n.config.DiscardUnpackedLayers}
	seen, err := n.seesFolders()
	if err != nil {
		return Look{}, err
	}
	if !seen {
		return look, ErrNoFolder
	}
	report, err := n.Check(ctx, CheckRequest{})
	look.Effective = report.Effective
	return look, err
}

// seesFolders reports whether it can be told what containerd finds in its folders: one of them
// is here, or is missing from the very folder that the configuration was read from.
func (n *Node) seesFolders() (bool, error) {
	folders := n.folders()
	for _, folder := range folders {
		exists, err := n.tree.Exists(folder)
		if err != nil {
			return false, err
		}
		if exists || path.Dir(folder) == path.Dir(n.flavor.config) {
			return true, nil
		}
	}
	return len(folders) == 0, nil
}
