package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
)

// enforcedRegistry is a name of the lab's registry that only Shoal knows.
const enforcedRegistry = "enforced.example"

// with installs the chart with more values, does something, and takes the values back.
func (l *lab) with(more string, do func() error) error {
	if err := l.helmWith("upgrade", values("two", "", more)); err != nil {
		return err
	}
	err := errors.Join(l.rollout("shoal"), do())
	return errors.Join(err, l.helmWith("upgrade", values("two", "", "")), l.settled())
}

// stateOf is what "shoal containerd check" says of a registry.
func (l *lab) stateOf(n *node, registry string) (string, error) {
	text, err := l.inShoal(n, "mirror", "containerd", "check", "--root", "/host", "-r", registry, "-o", "json")
	if err != nil {
		return "", err
	}
	var report struct {
		Registries []struct{ Name, State string }
	}
	if err := json.Unmarshal([]byte(text), &report); err != nil {
		return "", err
	}
	for _, r := range report.Registries {
		if r.Name == registry {
			return r.State, nil
		}
	}
	return "", fmt.Errorf("no %s in %s", registry, text)
}

// awaitState waits until the pulls of a registry go where they should on both nodes.
func (l *lab) awaitState(registry, want string) error {
	for _, n := range l.nodes {
		err := l.eventually(registry+" on "+n.name, func() error {
			state, err := l.stateOf(n, registry)
			if err == nil && state != want {
				err = fmt.Errorf("it is %s, not %s", state, want)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func enforce(l *lab) (string, error) {
	i, err := l.push("public/enforced", mib)
	if err != nil {
		return "", err
	}
	reference := strings.Replace(i.tagged, registryAddress, enforcedRegistry, 1)
	more := fmt.Sprintf(`, "mirror": {"registries": [%q], "existing": false, "enforce": true}`, enforcedRegistry)
	err = l.with(more, func() error {
		if err := errors.Join(l.awaitState(enforcedRegistry, "enforced"), l.awaitMembers(l.nodes[0], 1)); err != nil {
			return err
		}
		_, second, err := l.pullTwice("enforced", i, reference)
		if err == nil && second != 0 {
			err = fmt.Errorf("the second node read %d bytes from the registry", second)
		}
		return err
	})
	if err = errors.Join(err, l.awaitState(enforcedRegistry, "through_shoal")); err != nil {
		return "", err
	}
	return "both nodes pull by a name that only Shoal knows, the layer read once; afterwards there is a way around again", nil
}

func noSocket(l *lab) (string, error) {
	err := l.with(`, "containerdContent": false`, func() error {
		for _, n := range l.nodes {
			if err := errors.Join(l.awaitMirror(n), l.awaitMembers(n, 1), l.seesNoSocket(n)); err != nil {
				return err
			}
		}
		return l.throughShoal("no-socket")
	})
	if err != nil {
		return "", err
	}
	return "the second node's layer comes from the first; no process of Shoal's sees the socket or the content", nil
}

// seesNoSocket fails if a process of Shoal's has containerd's socket or content.
func (l *lab) seesNoSocket(n *node) error {
	pids, err := n.processes("shoal")
	if err != nil {
		return err
	}
	if len(pids) != 2 {
		return fmt.Errorf("%d processes of Shoal on %s, not the daemon and the mirror", len(pids), n.name)
	}
	for _, pid := range pids {
		mounts, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", pid))
		if err != nil {
			return err
		}
		for _, folder := range []string{" /run/containerd ", " /var/lib/containerd/"} {
			if strings.Contains(string(mounts), folder) {
				return fmt.Errorf("process %d on %s has%s", pid, n.name, folder)
			}
		}
	}
	return nil
}
