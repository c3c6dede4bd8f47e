package containerd_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/shoal-project/shoal/pkg/containerd"
	"github.com/shoal-project/shoal/pkg/containerd/configtoml"
	"github.com/shoal-project/shoal/pkg/containerd/hoststoml"
)

const (
	shoalHost = "http://127.0.0.1:6050/v2"
	hub       = "https://registry-1.docker.io/v2"

	companyToml = "# The company's cache.\nserver = \"https://registry-1.docker.io\"\n\n[host.\"https://cache.example\"]\n  capabilities = [\"pull\"]\n  [host.\"https://cache.example\".header]\n    Authorization = \"Basic c2VjcmV0\"\n"
)

// There is nothing, and afterwards there is nothing again; in between containerd asks
// Shoal and then the registry.
func TestInstallFromNothing(t *testing.T) {
	for _, registry := range []string{"docker.io", "registry.example:5000", containerd.Default, "localhost:5000", "[::1]:5000"} {
		m := configured(t)
		before := m.snapshot()
		direct := "docker.io"
		if registry != containerd.Default {
			direct = registry
		}
		want := append([]string{shoalHost}, m.asked(direct, certsDir)...)
		wantList(t, registry, actions(m.install(registry)), registry+" created")
		wantList(t, registry, m.asked(direct, certsDir), want...)
		wantList(t, registry, actions(m.install(registry)), registry+" unchanged")
		wantList(t, registry, actions(m.uninstall()), registry+" removed")
		if d := differences(before, m.snapshot()); d != nil {
			t.Errorf("%s: uninstall left %q", registry, d)
		}
	}
}

func corpus(tb testing.TB) files {
	tb.Helper()
	names, err := filepath.Glob("hoststoml/testdata/corpus/*.toml")
	if err != nil || len(names) < 20 {
		tb.Fatalf("%d files, %v", len(names), err)
	}
	all := files{}
	for _, name := range names {
		content, err := os.ReadFile(name)
		if err != nil {
			tb.Fatal(err)
		}
		all[certsDir+"/"+strings.ReplaceAll(strings.TrimSuffix(filepath.Base(name), ".toml"), "_", "-")+"/hosts.toml"] = string(content)
	}
	return all
}

// Every file of the corpus, all in one go; uninstall gives back every byte and mode.
func TestInstallKeepsWhatIsThere(t *testing.T) {
	m := configured(t, corpus(t), files{certsDir + "/docker.io/hosts.toml": companyToml, certsDir + "/docker.io/ca.crt": "x", certsDir + "/quay.io/": ""})
	if err := os.Chmod(m.path(certsDir+"/docker.io/hosts.toml"), 0o600); err != nil {
		t.Fatal(err)
	}
	before := m.snapshot()
	changes, err := m.open().Install(t.Context(), containerd.InstallRequest{Existing: true})
	if err != nil {
		t.Fatal(err)
	}
	if len(changes.Changes) < 22 || len(changes.Findings) != 0 {
		t.Errorf("%+v", changes)
	}
	wantList(t, "docker.io", m.asked("docker.io", certsDir), shoalHost, "https://cache.example/v2", hub)
	wantList(t, "quay.io", m.asked("quay.io", certsDir), shoalHost, "https://quay.io/v2")
	info, err := os.Stat(m.path(certsDir + "/docker.io/hosts.toml"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	record, err := os.Stat(m.path(certsDir + "/.shoal-record.json"))
	if err != nil || record.Mode().Perm() != 0o600 { // it has the password
		t.Errorf("mode of the record %v, %v", record.Mode(), err)
	}
	m.uninstall()
	if d := differences(before, m.snapshot()); d != nil {
		t.Errorf("uninstall left %q", d)
	}
}

// The second time nothing is written at all.
func TestInstallIsIdempotent(t *testing.T) {
	m := configured(t, files{certsDir + "/docker.io/hosts.toml": companyToml})
	m.install("docker.io", "quay.io")
	before := m.snapshot()
	n := m.open()
	n.OnChange(func(change, name string) error {
		t.Errorf("%s %s", change, name)
		return nil
	})
	changes, err := n.Install(t.Context(), containerd.InstallRequest{Registries: []string{"quay.io", "docker.io", "docker.io"}})
	if err != nil {
		t.Fatal(err)
	}
	wantList(t, "again", actions(changes), "docker.io unchanged", "quay.io unchanged")
	if d := differences(before, m.snapshot()); d != nil {
		t.Error(d)
	}
}

// Certificates beside a hosts.toml that does not exist are used by containerd; they still
// are when there is one.
func TestInstallKeepsCertificatesInUse(t *testing.T) {
	m := configured(t, files{
		certsDir + "/registry.example:5000/ca.crt":      testCertificate(t),
		certsDir + "/registry.example:5000/more/x.crt":  "not here",
		certsDir + "/registry.example:5000/readme.text": "",
	})
	before := m.snapshot()
	want := m.asked("registry.example:5000", certsDir)
	if !strings.HasSuffix(want[0], "with its own CA") {
		t.Fatalf("containerd does not use the certificate: %q", want)
	}
	wantList(t, "install", actions(m.install("registry.example:5000")), "registry.example:5000 created")
	wantList(t, "asked", m.asked("registry.example:5000", certsDir), append([]string{shoalHost}, want...)...)
	m.uninstall()
	if d := differences(before, m.snapshot()); d != nil {
		t.Error(d)
	}
}

func TestInstallEnforced(t *testing.T) {
	m := configured(t, files{certsDir + "/docker.io/hosts.toml": companyToml, certsDir + "/quay.io/ca.crt": testCertificate(t)})
	before := m.snapshot()
	enforce := func() containerd.Changes {
		changes, err := m.open().Install(t.Context(), containerd.InstallRequest{Registries: []string{"docker.io", "quay.io"}, Enforce: true})
		if err != nil {
			t.Fatal(err)
		}
		return changes
	}
	m.install("docker.io") // the other form first
	changes := enforce()
	wantList(t, "enforce", actions(changes), "docker.io changed", "quay.io created")
	wantList(t, "enforce", codes(changes.Findings), "warning other_hosts_dropped docker.io", "warning certificates_unused quay.io")
	wantList(t, "docker.io", m.asked("docker.io", certsDir), shoalHost)
	wantList(t, "quay.io", m.asked("quay.io", certsDir), shoalHost)
	if report := m.check(); !report.Effective || report.Registries[0].State != containerd.Enforced {
		t.Errorf("%+v", report)
	}
	wantList(t, "again", actions(enforce()), "docker.io unchanged", "quay.io unchanged")
	wantList(t, "back", actions(m.install("docker.io")), "docker.io changed")
	wantList(t, "docker.io", m.asked("docker.io", certsDir), shoalHost, "https://cache.example/v2", hub)
	enforce()
	m.uninstall()
	if d := differences(before, m.snapshot()); d != nil {
		t.Error(d)
	}
}

// Another port replaces the first; the bytes of before stay those of before.
func TestInstallWithAnotherPort(t *testing.T) {
	m := configured(t, files{certsDir + "/docker.io/hosts.toml": companyToml})
	before := m.snapshot()
	m.install("docker.io", "quay.io")
	other, err := hoststoml.ParseMirror("127.0.0.1:7000")
	if err != nil {
		t.Fatal(err)
	}
	moved := func(o *containerd.Options) { o.Mirror = other }
	changes, err := m.open(moved).Install(t.Context(), containerd.InstallRequest{Registries: []string{"docker.io", "quay.io"}})
	if err != nil {
		t.Fatal(err)
	}
	wantList(t, "moved", actions(changes), "docker.io changed", "quay.io changed")
	wantList(t, "asked", m.asked("docker.io", certsDir), "http://127.0.0.1:7000/v2", "https://cache.example/v2", hub)
	wantList(t, "check", codes(m.check("docker.io").Findings), "problem wrong_port docker.io")
	m.uninstall()
	if d := differences(before, m.snapshot()); d != nil {
		t.Error(d)
	}
}

func TestInstallRefusesWhereContainerdDoesNotLook(t *testing.T) {
	for name, c := range map[string]struct {
		config string
		want   string
	}{
		"none":      {"version = 3\n", `config_path is not set in /etc/containerd/config.toml, and containerd reads no hosts.toml; set [plugins."io.containerd.cri.v1.images".registry] config_path = "/etc/containerd/certs.d" in /etc/containerd/config.toml and restart containerd`},
		"trapped":   {"version = 3\n[plugins.'io.containerd.cri.v1.images'.registry]\nconfig_path = '/etc/containerd/certs.d:/etc/docker/certs.d'\n", "for the name of one folder"},
		"disabled":  {"disabled_plugins = ['cri']\n", "turned off"},
		"mirrors":   {"version = 2\n[plugins.'io.containerd.grpc.v1.cri'.registry.mirrors.'docker.io']\nendpoint = []\n", "registry.mirrors"},
		"malformed": {"version = \n", "line 1"},
	} {
		m := newMachine(t, files{mainFile: c.config})
		before := m.snapshot()
		_, err := m.open().Install(t.Context(), containerd.InstallRequest{Registries: []string{"docker.io"}})
		if _, ok := errors.AsType[*containerd.RefusedError](err); !ok || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if d := differences(before, m.snapshot()); d != nil {
			t.Errorf("%s: %q", name, d)
		}
	}
}

// One file that cannot be edited, and none is.
func TestInstallIsAllOrNothing(t *testing.T) {
	for name, content := range map[string]string{
		"malformed":       "[host\n",
		"an unknown word": "[host.\"https://a\"]\ncapabilities = [\"fetch\"]\n",
		"not first":       "[host.\"https://a\"]\n[host.\"http://127.0.0.1:6050\"]\n",
		"huge":            strings.Repeat("#\n", hoststoml.SizeMax),
		"UTF-16":          "\xff\xfes\x00",
		"edited lines":    "# shoal:begin 00000000\n# shoal:end\n",
	} {
		m := configured(t, files{certsDir + "/quay.io/hosts.toml": content, certsDir + "/docker.io/hosts.toml": companyToml})
		before := m.snapshot()
		_, err := m.open().Install(t.Context(), containerd.InstallRequest{Registries: []string{"docker.io", "quay.io", "ghcr.io"}})
		if err == nil || !strings.Contains(err.Error(), "/etc/containerd/certs.d/quay.io/hosts.toml") || strings.Contains(err.Error(), m.root) {
			t.Errorf("%s: %v", name, err)
		}
		if d := differences(before, m.snapshot()); d != nil {
			t.Errorf("%s: %q", name, d)
		}
	}
}

func TestInstallByHandIsLeftAlone(t *testing.T) {
	m := configured(t, files{certsDir + "/docker.io/hosts.toml": "server = \"https://registry-1.docker.io\"\n[host.\"http://127.0.0.1:6050\"]\ncapabilities = [\"pull\", \"resolve\"]\n"})
	before := m.snapshot()
	wantList(t, "install", actions(m.install("docker.io")), "docker.io unchanged")
	m.uninstall()
	if d := differences(before, m.snapshot()); d != nil {
		t.Error(d)
	}
	if report := m.check("docker.io"); !report.Effective {
		t.Errorf("%+v", report)
	}
}

func TestInstallFollowsLinks(t *testing.T) {
	m := configured(t, files{
		"/srv/hosts/hub.toml":               companyToml,
		certsDir + "/docker.io/hosts.toml":  "-> /srv/hosts/hub.toml",
		certsDir + "/quay.io":               "-> docker.io",
		certsDir + "/ghcr.io/hosts.toml":    "-> ../../../../../../../../srv/hosts/new.toml",
		certsDir + "/loop.example":          "-> loop.example",
		certsDir + "/registry.k8s.io/other": "",
	})
	before := m.snapshot()
	changes := m.install("docker.io", "quay.io", "ghcr.io")
	wantList(t, "links", actions(changes), "docker.io changed", "ghcr.io created", "quay.io unchanged")
	wantList(t, "links", codes(changes.Findings), "note linked docker.io", "note linked ghcr.io")
	if !strings.Contains(m.read("/srv/hosts/hub.toml"), "127.0.0.1:6050") {
		t.Error("the file behind the link is as it was")
	}
	if target, err := os.Readlink(m.path(certsDir + "/docker.io/hosts.toml")); err != nil || target != "/srv/hosts/hub.toml" {
		t.Errorf("the link: %q, %v", target, err)
	}
	if _, err := m.open().Install(t.Context(), containerd.InstallRequest{Registries: []string{"loop.example"}}); err == nil || !strings.Contains(err.Error(), "too many levels of symbolic links") {
		t.Errorf("a loop: %v", err)
	}
	wantList(t, "uninstall", actions(m.uninstall()), "docker.io restored", "ghcr.io removed")
	if d := differences(before, m.snapshot()); d != nil {
		t.Error(d)
	}
}

// Default serves what has no folder: such a registry is covered, or would lose what
// Default has for it.
func TestInstallBesideDefault(t *testing.T) {
	m := configured(t, files{certsDir + "/_default/hosts.toml": "[host.\"https://cache.example\"]\n", certsDir + "/docker.io/hosts.toml": companyToml})
	if _, err := m.open().Install(t.Context(), containerd.InstallRequest{Registries: []string{"ghcr.io"}}); err == nil || !strings.Contains(err.Error(), "use --registry _default") {
		t.Errorf("%v", err)
	}
	changes := m.install(containerd.Default, "ghcr.io")
	wantList(t, "default", actions(changes), "ghcr.io covered", "_default changed")
	wantList(t, "default", codes(changes.Findings), "warning shadowed")
	if !strings.Contains(changes.Findings[0].Message, "docker.io") || strings.Contains(changes.Findings[0].Message, "ghcr.io") {
		t.Errorf("%+v", changes.Findings)
	}
	wantList(t, "later", actions(m.install("ghcr.io")), "ghcr.io covered")
	report := m.check()
	wantList(t, "check", codes(report.Findings), "warning shadowed docker.io")
	if !report.Effective {
		t.Error("a registry that was left out on purpose is no problem")
	}
	if m.check("docker.io").Effective || !m.check("ghcr.io").Effective {
		t.Error("asked by name")
	}
	all, err := m.open().Install(t.Context(), containerd.InstallRequest{Registries: []string{containerd.Default}, Existing: true})
	if err != nil {
		t.Fatal(err)
	}
	wantList(t, "existing", actions(all), "_default unchanged", "docker.io changed")
	wantList(t, "existing", codes(m.check().Findings))
}

// EKS names a second folder that is not there, and that a container would not see: nothing is
// made in its place.
func TestDefaultGoesToAFolderThatIsThere(t *testing.T) {
	const eks = "version = 3\n[plugins.'io.containerd.cri.v1.images']\ndiscard_unpacked_layers = true\n" +
		"[plugins.'io.containerd.cri.v1.images'.registry]\nconfig_path = '/etc/containerd/certs.d:/etc/docker/certs.d'\n"
	m := newMachine(t, files{mainFile: eks})
	changes, err := m.open().Install(t.Context(), containerd.InstallRequest{Registries: []string{containerd.Default}})
	if err != nil || len(changes.Changes) != 1 || changes.Changes[0].File != certsDir+"/_default/hosts.toml" {
		t.Errorf("%+v, %v", changes, err)
	}
}

// Of two folders, which only the older pull reads, the first that has the registry counts;
// Default goes where it hides nothing.
func TestInstallInTwoFolders(t *testing.T) {
	const list = "version = 2\n[plugins.'io.containerd.grpc.v1.cri'.registry]\nconfig_path = '/etc/containerd/certs.d:/etc/docker/certs.d'\n"
	m := newMachine(t, files{mainFile: list, "/etc/docker/certs.d/registry.example/ca.crt": testCertificate(t)})
	before := m.snapshot()
	old := func(o *containerd.Options) { o.Release = configtoml.One }
	request := containerd.InstallRequest{Registries: []string{"registry.example", "docker.io", containerd.Default}}
	changes, err := m.open(old).Install(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	where := make([]string, 0, len(changes.Changes))
	for _, c := range changes.Changes {
		where = append(where, c.File)
	}
	wantList(t, "files", where, "/etc/containerd/certs.d/docker.io/hosts.toml", "/etc/docker/certs.d/_default/hosts.toml", "/etc/docker/certs.d/registry.example/hosts.toml")
	report, err := m.open(old).Check(t.Context(), containerd.CheckRequest{Registries: request.Registries})
	if err != nil || !report.Effective {
		t.Errorf("%+v, %v", report, err)
	}
	if _, err := m.open(old).Uninstall(t.Context(), containerd.UninstallRequest{}); err != nil {
		t.Fatal(err)
	}
	if d := differences(before, m.snapshot()); d != nil {
		t.Error(d)
	}
}

func TestInstallRefusesNames(t *testing.T) {
	m := configured(t)
	before := m.snapshot()
	for name, want := range map[string]string{
		"../x": "not a registry", "": "not a registry", "a/b": "not a registry", "Docker.io": "not a registry", ".": "not a registry",
		"-x": "not a registry", "a:0": "not a registry", "a:b": "not a registry", "_other": "not a registry", "https://a": "not a registry",
		"registry-1.docker.io": "docker.io", "a\x00b": "not a registry", strings.Repeat("a", 1000): "not a registry", "ä.example": "not a registry",
	} {
		_, err := m.open().Install(t.Context(), containerd.InstallRequest{Registries: []string{name}})
		if err == nil || !strings.Contains(err.Error(), want) || len(err.Error()) > 400 {
			t.Errorf("%.30q: %v", name, err)
		}
	}
	if _, err := m.open().Install(t.Context(), containerd.InstallRequest{}); err == nil {
		t.Error("no registry at all is accepted")
	}
	if d := differences(before, m.snapshot()); d != nil {
		t.Error(d)
	}
}

// Many at once: every file is right, and the record knows them all.
func TestInstallsAtOnce(t *testing.T) {
	m := configured(t, files{certsDir + "/docker.io/hosts.toml": companyToml})
	before := m.snapshot()
	registries := []string{"docker.io", "quay.io", "ghcr.io", "registry.k8s.io"}
	var group sync.WaitGroup
	for i := range 8 {
		n := m.open()
		group.Go(func() {
			if _, err := n.Install(t.Context(), containerd.InstallRequest{Registries: registries[i%4 : i%4+1]}); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	for _, registry := range registries {
		if asked := m.asked(registry, certsDir); asked[0] != shoalHost || slices.Contains(asked[1:], shoalHost) {
			t.Errorf("%s: %q", registry, asked)
		}
	}
	m.uninstall()
	if d := differences(before, m.snapshot()); d != nil {
		t.Error(d)
	}
}

// One install makes the folder of folders, and another is the first to write there: it is known all the same
// whose folder it is, and an uninstall takes it away.
func TestFolderThatAnotherInstallFillsFirst(t *testing.T) {
	m := configured(t)
	before := m.snapshot()
	n, filled := m.open(), false
	n.OnChange(func(change, name string) error {
		if change == "syncdir" && name == filepath.Dir(certsDir) && !filled {
			filled = true
			m.install("docker.io")
		}
		return nil
	})
	if _, err := n.Install(t.Context(), containerd.InstallRequest{Registries: []string{"docker.io"}}); err != nil || !filled {
		t.Fatalf("installed: %v, beside another: %v", err, filled)
	}
	m.uninstall()
	if d := differences(before, m.snapshot()); d != nil {
		t.Error(d)
	}
}

// Installs and uninstalls at once: each finds things as they are before or after another.
func TestInstallsAndUninstallsAtOnce(t *testing.T) {
	m := configured(t)
	before := m.snapshot()
	var group sync.WaitGroup
	for range 4 {
		n := m.open()
		group.Go(func() {
			for range 5 {
				if err := installs(containerd.InstallRequest{Registries: []string{"docker.io", "quay.io"}})(t, n); err != nil {
					t.Error(err)
				}
				if err := uninstalls(t, n); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	m.uninstall()
	if d := differences(before, m.snapshot()); d != nil {
		t.Error(d)
	}
}
