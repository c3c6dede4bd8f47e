package e2e

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
)

// ShoalContainerd runs a command of "shoal containerd" about the node's containerd and the lab's
// registry, and returns its exit code and what it wrote.
func (n *Node) ShoalContainerd(command string, flags ...string) (code int, said string) {
	t := n.lab.t
	t.Helper()
	said, err := n.Run(nil, slices.Concat([]string{
		n.lab.site.Tools.Shoal, "containerd", command,
		"--containerd-config", filepath.Join(n.dir, "containerd.toml"), "--registry", n.lab.Registry.Host, "--listen", mirrorAddress,
	}, flags)...)
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return exit.ExitCode(), said
	}
	if err != nil {
		t.Fatal(err)
	}
	return 0, said
}

// Hosts is the hosts.toml that the node's containerd reads for the lab's registry.
func (n *Node) Hosts() string {
	t := n.lab.t
	t.Helper()
	text, err := os.ReadFile(filepath.Join(n.hostsFolder(), n.lab.Registry.Host, "hosts.toml"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
