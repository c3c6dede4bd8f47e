package containerd_test

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/shoal-project/shoal/pkg/containerd"
)

const recordName = certsDir + "/.shoal-record.json"

// Edits of others stay, whatever they are; Shoal's lines go where that is possible.
func TestUninstallLeavesEdits(t *testing.T) {
	docker, quay := certsDir+"/docker.io/hosts.toml", certsDir+"/quay.io/hosts.toml"
	m := configured(t, files{docker: companyToml})
	m.install("docker.io", "quay.io", "ghcr.io", "gcr.io", "registry.k8s.io")
	m.write(docker, strings.Replace(m.read(docker), "company", "firm", 1)+"[host.\"https://new.example\"]\n")
	m.write(quay, m.read(quay)+"[host.\"https://new.example\"]\n")
	m.write(certsDir+"/ghcr.io/hosts.toml", "server = \"https://ghcr.io\"\n") // all of it replaced
	m.write(certsDir+"/gcr.io/ca.crt", "x")                                   // something beside it
	m.remove(certsDir + "/registry.k8s.io")
	wantList(t, "uninstall", actions(m.uninstall()), "docker.io cut", "gcr.io removed", "ghcr.io gone", "quay.io cut", "registry.k8s.io gone")
	for name, want := range map[string]string{
		docker: strings.Replace(companyToml, "company", "firm", 1) + "[host.\"https://new.example\"]\n",
		quay:   "[host.\"https://new.example\"]\n", certsDir + "/ghcr.io/hosts.toml": "server = \"https://ghcr.io\"\n", certsDir + "/gcr.io/ca.crt": "x",
	} {
		if got := m.read(name); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
	for _, name := range []string{certsDir + "/gcr.io/hosts.toml", recordName} {
		if _, err := os.Stat(m.path(name)); err == nil {
			t.Errorf("%s is there", name)
		}
	}
	wantList(t, "again", actions(m.uninstall()))
}

// Edits among Shoal's lines, or of an enforced file, are the operator's to sort out; the
// record stays until then.
func TestUninstallKeepsWhatItCannotTell(t *testing.T) {
	docker := certsDir + "/docker.io/hosts.toml"
	for name, edit := range map[string]struct {
		enforce bool
		edit    func(string) string
	}{
		"a changed line":   {false, func(s string) string { return strings.Replace(s, "200ms", "1s", 1) }},
		"a line among":     {false, func(s string) string { return strings.Replace(s, "  dial", "  skip_verify = true\n  dial", 1) }},
		"an end lost":      {false, func(s string) string { return strings.Replace(s, "# shoal:end\n", "", 1) }},
		"more than before": {true, func(s string) string { return s + "[host.\"https://new.example\"]\n" }},
	} {
		m := configured(t, files{docker: companyToml})
		before := m.snapshot()
		if _, err := m.open().Install(t.Context(), containerd.InstallRequest{Registries: []string{"docker.io"}, Enforce: edit.enforce}); err != nil {
			t.Fatal(err)
		}
		edited := edit.edit(m.read(docker))
		m.write(docker, edited)
		for range 2 {
			changes := m.uninstall()
			wantList(t, name, actions(changes), "docker.io kept")
			wantList(t, name, codes(changes.Findings), "problem edited_since docker.io")
		}
		if got := m.read(docker); got != edited {
			t.Errorf("%s: %q", name, got)
		}
		changes, err := m.open().Uninstall(t.Context(), containerd.UninstallRequest{Force: true})
		if err != nil {
			t.Fatal(err)
		}
		wantList(t, name, actions(changes), "docker.io restored")
		if d := differences(before, m.snapshot()); d != nil {
			t.Errorf("%s: %q", name, d)
		}
	}
}

// An install after edits takes the edited file as what was there before.
func TestInstallAfterEdits(t *testing.T) {
	docker := certsDir + "/docker.io/hosts.toml"
	m := configured(t, files{docker: companyToml})
	m.install("docker.io")
	edited := "# mine\n" + m.read(docker)
	m.write(docker, edited)
	wantList(t, "again", actions(m.install("docker.io")), "docker.io unchanged")
	if _, err := m.open().Install(t.Context(), containerd.InstallRequest{Registries: []string{"docker.io"}, Enforce: true}); err != nil {
		t.Fatal(err)
	}
	wantList(t, "uninstall", actions(m.uninstall()), "docker.io restored")
	if got, want := m.read(docker), "# mine\n"+companyToml; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestUninstallOfSome(t *testing.T) {
	m := configured(t)
	before := m.snapshot()
	m.install("docker.io", "quay.io")
	changes, err := m.open().Uninstall(t.Context(), containerd.UninstallRequest{Registries: []string{"quay.io"}})
	if err != nil {
		t.Fatal(err)
	}
	wantList(t, "quay.io", actions(changes), "quay.io removed")
	wantList(t, "docker.io", m.asked("docker.io", certsDir), shoalHost, hub)
	m.uninstall()
	if d := differences(before, m.snapshot()); d != nil {
		t.Error(d)
	}
	if _, err := m.open().Uninstall(t.Context(), containerd.UninstallRequest{Registries: []string{"../x"}}); err == nil {
		t.Error("a name that is no registry is accepted")
	}
}

// Without the record Shoal's lines are found all the same.
func TestUninstallWithoutRecord(t *testing.T) {
	m := configured(t, files{certsDir + "/docker.io/hosts.toml": companyToml})
	m.install("docker.io", "quay.io")
	m.remove(recordName)
	wantList(t, "uninstall", actions(m.uninstall()), "docker.io cut", "quay.io removed")
	if got := m.read(certsDir + "/docker.io/hosts.toml"); got != companyToml {
		t.Errorf("%q", got)
	}
}

// The configuration may have changed since, or be broken: what Shoal did is still found in
// the usual folder.
func TestUninstallWithAnotherConfiguration(t *testing.T) {
	for _, config := range []string{"version = 3\n", "not toml", ""} {
		m := configured(t)
		m.install("docker.io")
		m.write(mainFile, config)
		before := m.snapshot()
		wantList(t, config, actions(m.uninstall()), "docker.io removed")
		if d := differences(before, m.snapshot()); len(d) == 0 {
			t.Errorf("%s: nothing was done", config)
		}
		if _, err := os.Stat(m.path(certsDir)); err == nil {
			t.Errorf("%s: the folder is there", config)
		}
	}
}

// A record that cannot be believed is not acted on.
func TestHostileRecord(t *testing.T) {
	m := configured(t, files{"/etc/shadow": "root", certsDir + "/docker.io/hosts.toml": companyToml})
	m.install("docker.io")
	genuine := m.read(recordName)
	forge := func(change func(entry map[string]any)) string {
		var record struct {
			Version int              `json:"schema_version"`
			Made    bool             `json:"folder_made"`
			Entries []map[string]any `json:"entries"`
		}
		if err := json.Unmarshal([]byte(genuine), &record); err != nil {
			t.Fatal(err)
		}
		change(record.Entries[0])
		text, err := json.Marshal(record)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	for name, text := range map[string]string{
		"no JSON":          "{",
		"another document": `{"schema_version": 1, "rules": []}`,
		"a later version":  strings.Replace(genuine, `"schema_version": 1`, `"schema_version": 2`, 1),
		"another folder":   forge(func(e map[string]any) { e["folder"] = "../../../shadow" }),
		"no folder":        forge(func(e map[string]any) { e["folder"] = "" }),
		"its own":          forge(func(e map[string]any) { e["folder"] = ".." }),
		"other bytes":      forge(func(e map[string]any) { e["before"] = "eA==" }),
		"deep":             strings.Repeat("[", 1_000_000),
	} {
		m.write(recordName, text)
		before := m.snapshot()
		for _, command := range []func(*testing.T, *containerd.Node) error{uninstalls, installs(containerd.InstallRequest{Registries: []string{"quay.io"}})} {
			if err := command(t, m.open()); err == nil || !strings.Contains(err.Error(), recordName+": ") || !strings.Contains(err.Error(), "move it away") {
				t.Errorf("%s: %v", name, err)
			}
		}
		if d := differences(before, m.snapshot()); d != nil {
			t.Errorf("%s: %q", name, d)
		}
		if report := m.check(); !report.Effective { // the files say enough
			t.Errorf("%s: %+v", name, report)
		}
	}
}

func TestRecordIsComplete(t *testing.T) {
	m := configured(t, files{certsDir + "/docker.io/hosts.toml": companyToml})
	m.install("docker.io", "quay.io")
	var record struct {
		SchemaVersion int  `json:"schema_version"`
		FolderMade    bool `json:"folder_made"`
		Entries       []struct {
			Folder  string   `json:"folder"`
			Before  []byte   `json:"before"`
			Written []string `json:"written_sha256"`
			Existed bool     `json:"existed"`
		} `json:"entries"`
	}
	if err := json.Unmarshal([]byte(m.read(recordName)), &record); err != nil {
		t.Fatal(err)
	}
	if len(record.Entries) != 2 || record.SchemaVersion != 1 || record.FolderMade {
		t.Fatalf("%+v", record)
	}
	hub, quay := record.Entries[0], record.Entries[1]
	if string(hub.Before) != companyToml || !hub.Existed || quay.Existed || len(hub.Written) != 1 || slices.Equal(hub.Written, quay.Written) {
		t.Errorf("%+v", record)
	}
}
