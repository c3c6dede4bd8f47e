package containerd

import (
	"context"
	"errors"
)

// Effective reports whether containerd asks Shoal first for the registries that Install
// was asked for: the daemon's own question, behind a metric. It does not ask whether Shoal
// answers. It fails when it cannot tell, as in a container that does not see the machine's
// files.
func Effective(ctx context.Context, o Options) (effective bool, err error) {
	n, err := Open(o)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, n.Close()) }()
	report, err := n.Check(ctx, CheckRequest{})
	return report.Effective, err
}
