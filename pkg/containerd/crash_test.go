package containerd_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/shoal-project/shoal/pkg/containerd"
)

var errCrashed = errors.New("crashed")

// crashAt makes every change to the disk from the n-th on fail, as if the process had
// ended there, and reports whether there was such a one.
func crashAt(n *containerd.Node, at int) (crashed func() bool) {
	count := 0
	n.OnChange(func(string, string) error {
		if count++; count >= at {
			return errCrashed
		}
		return nil
	})
	return func() bool { return count >= at }
}

// A way of using the commands, and a machine to use them on.
type scenario struct {
	name  string
	setup func(m *machine) // before the command that crashes
	run   func(t *testing.T, n *containerd.Node) error
}

func installs(request containerd.InstallRequest) func(*testing.T, *containerd.Node) error {
	return func(t *testing.T, n *containerd.Node) error {
		t.Helper()
		_, err := n.Install(t.Context(), request)
		return err
	}
}

func uninstalls(t *testing.T, n *containerd.Node) error {
	t.Helper()
	_, err := n.Uninstall(t.Context(), containerd.UninstallRequest{})
	return err
}

// Wherever a command ends, containerd asks the hosts of before or those of after, and
// nobody sees a folder without its file. Whatever comes next finishes the work: the same
// command again, or an uninstall, which gives back the machine of before.
func TestCrashAnywhere(t *testing.T) {
	registries := []string{"docker.io", "quay.io", "registry.example:5000"}
	both := containerd.InstallRequest{Registries: registries}
	enforced := containerd.InstallRequest{Registries: registries, Enforce: true}
	for _, s := range []scenario{
		{"install", func(*machine) {}, installs(both)},
		{"enforce", func(*machine) {}, installs(enforced)},
		{"enforce after install", func(m *machine) { m.install(registries...) }, installs(enforced)},
		{"uninstall", func(m *machine) { m.install(registries...) }, uninstalls},
		{"uninstall of enforced", func(m *machine) {
			if err := installs(enforced)(t, m.open()); err != nil {
				t.Fatal(err)
			}
		}, uninstalls},
	} {
		whole, _ := s.machine(t)
		old := askedOn(whole)
		if err := s.run(t, whole.open()); err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		wanted := askedOn(whole)
		for at := 1; ; at++ {
			if !crashOnce(t, s, at, old, wanted) {
				if at < 10 {
					t.Errorf("%s makes only %d changes", s.name, at)
				}
				break
			}
		}
	}
}

// machine is the machine of a scenario, and what it was before Shoal.
func (s scenario) machine(t *testing.T) (*machine, map[string]string) {
	t.Helper()
	m := configured(t, files{certsDir + "/docker.io/hosts.toml": companyToml})
	before := m.snapshot()
	s.setup(m)
	return m, before
}

// askedOn is what containerd asks for each of the registries.
func askedOn(m *machine) [][]string {
	return [][]string{m.asked("docker.io", certsDir), m.asked("quay.io", certsDir), m.asked("registry.example:5000", certsDir)}
}

// crashOnce crashes a scenario at one change, and reports whether there is such a one.
func crashOnce(t *testing.T, s scenario, at int, old, wanted [][]string) bool {
	t.Helper()
	m, before := s.machine(t)
	n := m.open()
	crashed := crashAt(n, at)
	err := s.run(t, n)
	if !crashed() {
		return false
	}
	if !errors.Is(err, errCrashed) {
		t.Errorf("%s, change %d: %v", s.name, at, err)
	}
	for i, hosts := range askedOn(m) {
		if !slices.Equal(hosts, old[i]) && !slices.Equal(hosts, wanted[i]) {
			t.Errorf("%s, change %d: containerd asks %q", s.name, at, hosts)
		}
	}
	again := copyOf(m)
	if err := s.run(t, again.open()); err != nil {
		t.Errorf("%s, change %d, again: %v", s.name, at, err)
	}
	for i, hosts := range askedOn(again) {
		if !slices.Equal(hosts, wanted[i]) {
			t.Errorf("%s, change %d, again: containerd asks %q", s.name, at, hosts)
		}
	}
	for _, left := range []*machine{m, again} {
		left.uninstall()
		if d := differences(before, left.snapshot()); d != nil {
			t.Errorf("%s, change %d: uninstall left %q", s.name, at, d)
		}
	}
	return true
}

// copyOf is another machine with the same files.
func copyOf(m *machine) *machine {
	m.t.Helper()
	other := newMachine(m.t)
	copyTree(m.t, m.root, other.root)
	return other
}

// A disk that fails at one change and works again leaves no rubbish behind.
func TestFailureAnywhere(t *testing.T) {
	for at := 1; ; at++ {
		m := configured(t, files{certsDir + "/docker.io/hosts.toml": companyToml})
		before := m.snapshot()
		n := m.open()
		count := 0
		n.OnChange(func(string, string) error {
			if count++; count == at {
				return errCrashed
			}
			return nil
		})
		err := installs(containerd.InstallRequest{Registries: []string{"docker.io", "quay.io"}})(t, n)
		if count < at {
			break
		}
		if !errors.Is(err, errCrashed) {
			t.Errorf("change %d: %v", at, err)
		}
		for name := range m.snapshot() {
			if base := name[max(0, len(name)-len(".shoal-tmp")):]; base == ".shoal-tmp" {
				t.Errorf("change %d: %s is left", at, name)
			}
		}
		m.uninstall()
		if d := differences(before, m.snapshot()); d != nil {
			t.Errorf("change %d: uninstall left %q", at, d)
		}
	}
}

// What was written is durable before it is seen, and the record before what it tells of.
func TestChangesAreDurableInOrder(t *testing.T) {
	m := configured(t, files{certsDir + "/docker.io/hosts.toml": companyToml})
	n := m.open()
	var steps []string
	n.OnChange(func(change, name string) error {
		steps = append(steps, change+" "+name[len(certsDir):])
		return nil
	})
	if err := installs(containerd.InstallRequest{Registries: []string{"docker.io", "quay.io"}})(t, n); err != nil {
		t.Fatal(err)
	}
	wantList(t, "changes", steps,
		"create /.shoal-tmp", "write /.shoal-tmp", "sync /.shoal-tmp", "rename /.shoal-record.json", "syncdir ",
		"create /docker.io/.shoal-tmp", "write /docker.io/.shoal-tmp", "sync /docker.io/.shoal-tmp", "rename /docker.io/hosts.toml", "syncdir /docker.io",
		"mkdir /.shoal-tmp", "create /.shoal-tmp/hosts.toml", "write /.shoal-tmp/hosts.toml", "sync /.shoal-tmp/hosts.toml",
		"syncdir /.shoal-tmp", "rename /quay.io", "syncdir ",
	)
}
