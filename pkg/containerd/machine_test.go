package containerd_test

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/remotes/docker/config"
	"github.com/containerd/log"

	"github.com/shoal-project/shoal/pkg/containerd"
	"github.com/shoal-project/shoal/pkg/containerd/hoststoml"
)

func TestMain(m *testing.M) {
	log.L.Logger.SetOutput(io.Discard) // containerd logs every file that it does not accept
	m.Run()
}

const (
	mainFile = "/etc/containerd/config.toml"
	certsDir = "/etc/containerd/certs.d"

	setting = "version = 3\n[plugins.'io.containerd.cri.v1.images'.registry]\nconfig_path = '" + certsDir + "'\n"
)

// A machine is a file tree with a containerd in it.
type machine struct {
	t    *testing.T
	root string
}

// files are names and texts. A text that begins with "-> " is a link.
type files map[string]string

func newMachine(t *testing.T, contents ...files) *machine {
	t.Helper()
	m := &machine{t: t, root: t.TempDir()}
	for _, c := range contents {
		for _, name := range slices.Sorted(maps.Keys(c)) {
			m.write(name, c[name])
		}
	}
	return m
}

// configured is a machine whose containerd reads hosts.toml files in one folder.
func configured(t *testing.T, contents ...files) *machine {
	t.Helper()
	return newMachine(t, append([]files{{mainFile: setting}}, contents...)...)
}

func (m *machine) path(name string) string { return filepath.Join(m.root, name) }

func (m *machine) write(name, text string) {
	m.t.Helper()
	path := m.path(name)
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	target, isLink := strings.CutPrefix(text, "-> ")
	switch {
	case err != nil:
	case isLink:
		err = os.Symlink(target, path)
	case strings.HasSuffix(name, "/"):
		err = os.MkdirAll(path, 0o755)
	default:
		err = os.WriteFile(path, []byte(text), 0o644)
	}
	if err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) read(name string) string {
	m.t.Helper()
	content, err := os.ReadFile(m.path(name))
	if err != nil {
		m.t.Fatal(err)
	}
	return string(content)
}

func (m *machine) remove(name string) {
	m.t.Helper()
	if err := os.RemoveAll(m.path(name)); err != nil {
		m.t.Fatal(err)
	}
}

// snapshot is every file, link and folder with its mode.
func (m *machine) snapshot() map[string]string {
	m.t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(m.root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		text := ""
		switch {
		case entry.Type()&fs.ModeSymlink != 0:
			text, err = os.Readlink(path)
		case entry.Type().IsRegular():
			var content []byte
			content, err = os.ReadFile(path)
			text = string(content)
		}
		all[strings.TrimPrefix(path, m.root)] = fmt.Sprintf("%s %s", info.Mode(), text)
		return err
	})
	if err != nil {
		m.t.Fatal(err)
	}
	return all
}

// differences lists what two snapshots do not have in common.
func differences(a, b map[string]string) []string {
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(a)) {
		if b[name] != a[name] {
			lines = append(lines, fmt.Sprintf("%s: %q, then %q", name, a[name], b[name]))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(b)) {
		if _, ok := a[name]; !ok {
			lines = append(lines, name+" is new")
		}
	}
	return lines
}

// asked is what containerd's own code asks for a registry, host by host.
func (m *machine) asked(registry, folder string) []string {
	m.t.Helper()
	found, err := config.ConfigureHosts(context.Background(), config.HostOptions{HostDir: config.HostDirFromRoot(m.path(folder))})(registry)
	if err != nil {
		m.t.Fatal(err)
	}
	hosts := make([]string, len(found))
	for i, h := range found {
		hosts[i] = h.Scheme + "://" + h.Host + h.Path
		if t, ok := h.Client.Transport.(*http.Transport); ok && t.TLSClientConfig.RootCAs != nil {
			hosts[i] += " with its own CA"
		}
	}
	return hosts
}

func (m *machine) options() containerd.Options {
	m.t.Helper()
	mirror, err := hoststoml.ParseMirror("127.0.0.1:6050")
	if err != nil {
		m.t.Fatal(err)
	}
	return containerd.Options{Root: m.root, Mirror: mirror}
}

func (m *machine) open(change ...func(*containerd.Options)) *containerd.Node {
	m.t.Helper()
	o := m.options()
	for _, c := range change {
		c(&o)
	}
	n, err := containerd.Open(o)
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() {
		if err := n.Close(); err != nil {
			m.t.Error(err)
		}
	})
	return n
}

func (m *machine) install(registries ...string) containerd.Changes {
	m.t.Helper()
	changes, err := m.open().Install(m.t.Context(), containerd.InstallRequest{Registries: registries})
	if err != nil {
		m.t.Fatal(err)
	}
	return changes
}

func (m *machine) uninstall() containerd.Changes {
	m.t.Helper()
	changes, err := m.open().Uninstall(m.t.Context(), containerd.UninstallRequest{})
	if err != nil {
		m.t.Fatal(err)
	}
	return changes
}

func (m *machine) check(registries ...string) containerd.Report {
	m.t.Helper()
	report, err := m.open().Check(m.t.Context(), containerd.CheckRequest{Registries: registries})
	if err != nil {
		m.t.Fatal(err)
	}
	return report
}

// actions are "registry action" for each change.
func actions(c containerd.Changes) []string {
	all := make([]string, 0, len(c.Changes))
	for _, change := range c.Changes {
		all = append(all, change.Registry+" "+string(change.Action))
	}
	return all
}

// codes are "severity code registry" for each finding.
func codes(findings []containerd.Finding) []string {
	all := make([]string, 0, len(findings))
	for _, f := range findings {
		all = append(all, strings.TrimSpace(fmt.Sprintf("%s %s %s", f.Severity, f.Code, f.Registry)))
	}
	return all
}

func wantList(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

func copyTree(tb testing.TB, from, to string) {
	tb.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		tb.Fatal(err)
	}
	err := filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.Type()&fs.ModeSymlink != 0 {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		return os.Chmod(filepath.Join(to, strings.TrimPrefix(path, from)), info.Mode().Perm())
	})
	if err != nil {
		tb.Fatal(err)
	}
}
