// containerd-stargz is containerd with stargz-snapshotter compiled in, as k3s ships it. The
// snapshotter's own command is in a module of its own, which is nowhere published.
package main

import (
	"context"
	"fmt"
	"os"

	_ "github.com/containerd/containerd/v2/cmd/containerd/builtins"
	"github.com/containerd/containerd/v2/cmd/containerd/command"
	_ "github.com/containerd/stargz-snapshotter/service/plugin"
)

func main() {
	if err := command.App().Run(context.Background(), os.Args); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
