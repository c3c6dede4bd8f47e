package e2e

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A Site is where labs are built, and of what.
type Site struct {
	Dir   string // the sandbox's folder
	Logs  string // folder that gets the logs of a lab whose T failed
	Tools Tools

	// OldContainerd says that Tools.Containerd is of 1.x, with a configuration of version 2.
	OldContainerd bool
	Lazy          bool     // Tools.Containerd has stargz-snapshotter in it, which every node uses
	KeepLogs      bool     // of every lab
	ShoalFlags    []string // more flags for every daemon
	ShoalEnv      []string // more of the environment of every daemon, as NAME=value
}

// A Lab is a registry and nodes on one network. It belongs to the goroutine of its
// T; everything in it is gone when that ends.
type Lab struct {
	Registry *Registry

	t     T
	site  Site
	dir   string // on a real file system
	run   string // on a tmpfs, short enough for socket names
	net   network
	nodes int
	logs  map[string]string // by the name of the process
}

// NewLab makes a lab with a running registry and no nodes.
func (s Site) NewLab(t T) *Lab {
	t.Helper()
	l := s.bareLab(t)
	l.Registry = l.startRegistry(nil)
	return l
}

// NewPrivateLab is NewLab with a registry that asks for a token from tokens for
// everything.
func (s Site) NewPrivateLab(t T, users ...User) *Lab {
	t.Helper()
	l := s.bareLab(t)
	l.Registry = l.startRegistry(l.startTokenServer(users))
	return l
}

func (s Site) bareLab(t T) *Lab {
	t.Helper()
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
		t: t, net: n, logs: make(map[string]string), site: s,
		dir: filepath.Join(s.Dir, n.bridge()),
		run: filepath.Join("/run", n.bridge()),
	}
	for _, dir := range []string{l.dir, l.run} {
		if err := os.Mkdir(dir, 0o750); err != nil {
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

// plug gives a node its namespace and its cable for as long as the lab is there.
func (l *Lab) plug(node int) {
	l.t.Helper()
	if err := l.net.addNode(node); err != nil {
		l.t.Fatalf("plugging in node %d: %v", node, err)
	}
	l.t.Cleanup(func() {
		if err := l.net.removeNode(node); err != nil {
			l.t.Errorf("unplugging node %d: %v", node, err)
		}
	})
}

// Traffic is what has gone over the cable of every node by now, by the nodes' numbers.
func (l *Lab) Traffic() ([]Traffic, error) { return l.net.traffic(l.nodes) }

// shape limits what a node sends and receives.
func (l *Lab) shape(node int, send, receive string) {
	l.t.Helper()
	if err := l.net.shape(node, send, receive); err != nil {
		l.t.Fatalf("shaping node %d: %v", node, err)
	}
}

// explain keeps all logs of a T that failed where a machine can collect them, and prints
// their ends. It runs before the folders go, after the processes.
func (l *Lab) explain() {
	if l.t.Failed() || l.site.KeepLogs {
		l.keepLogs(filepath.Join(l.site.Logs, filepath.FromSlash(l.t.Name())))
	}
	if !l.t.Failed() {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(l.logs)) {
		l.t.Logf("---- %s ----\n%s", name, strings.TrimSpace(tail(l.logs[name], 4<<10)))
	}
	if l.Registry != nil {
		l.t.Logf("---- what reached the registry ----\n%s", l.Registry.Journal())
	}
}

// keepLogs copies all logs to a folder.
func (l *Lab) keepLogs(to string) {
	if err := os.MkdirAll(to, 0o750); err != nil {
		l.t.Logf("keeping the logs: %v", err)
		return
	}
	for name, log := range l.logs {
		data, err := os.ReadFile(log) //nolint:gosec // the lab's own file
		if err == nil {
			err = os.WriteFile(filepath.Join(to, name+".log"), data, 0o600) //nolint:gosec // the name of a process, chosen by the lab
		}
		if err != nil {
			l.t.Logf("keeping the logs: %v", err)
		}
	}
	l.t.Logf("whole logs: %s", to)
}
