package e2e

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A Lab is a registry and nodes on one network. It belongs to the goroutine of its
// test; everything in it is gone when the test ends.
type Lab struct {
	Registry *Registry

	t     *testing.T
	tools Tools
	dir   string // on a real file system
	run   string // on a tmpfs, short enough for socket names
	net   network
	nodes int
	logs  map[string]string // by the name of the process
}

// NewLab makes a lab with a running registry and no nodes. It skips the test where
// there is no sandbox to run it in.
func NewLab(t *testing.T) *Lab {
	t.Helper()
	l := bareLab(t)
	l.Registry = l.startRegistry(nil)
	return l
}

// NewPrivateLab is NewLab with a registry that asks for a token from tokens for
// everything.
func NewPrivateLab(t *testing.T, users ...User) *Lab {
	t.Helper()
	l := bareLab(t)
	l.Registry = l.startRegistry(l.startTokenServer(users))
	return l
}

func bareLab(t *testing.T) *Lab {
	t.Helper()
	sandbox := requireSandbox(t)
	n, err := newNetwork()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.remove(); err != nil {
			t.Errorf("removing the network: %v", err)
		}
	})
	l := &Lab{
		t: t, net: n, logs: make(map[string]string),
		tools: FindTools(checkout, filepath.Join(sandbox, "bin")),
		dir:   filepath.Join(sandbox, n.bridge()),
		run:   filepath.Join("/run", n.bridge()),
	}
	for _, dir := range []string{l.dir, l.run} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := os.RemoveAll(dir); err != nil {
				t.Errorf("removing %s: %v", dir, err)
			}
		})
	}
	t.Cleanup(l.explain)
	return l
}

// explain prints the ends of all logs of a test that failed, and keeps them whole
// where a machine can collect them. It runs before the folders go, after the processes.
func (l *Lab) explain() {
	if !l.t.Failed() {
		return
	}
	kept := filepath.Join(checkout, "bin", "e2e-logs", filepath.FromSlash(l.t.Name()))
	if err := os.MkdirAll(kept, 0o755); err != nil {
		l.t.Logf("keeping the logs: %v", err)
	}
	for _, name := range slices.Sorted(maps.Keys(l.logs)) {
		if data, err := os.ReadFile(l.logs[name]); err == nil {
			_ = os.WriteFile(filepath.Join(kept, name+".log"), data, 0o644)
		}
		text := strings.TrimSpace(tail(l.logs[name], 4<<10))
		l.t.Logf("---- %s ----\n%s", name, text)
	}
	if l.Registry != nil {
		l.t.Logf("---- what reached the registry ----\n%s", l.Registry.Journal())
	}
	l.t.Logf("whole logs: %s", kept)
}
