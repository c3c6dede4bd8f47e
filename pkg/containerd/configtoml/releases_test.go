package configtoml_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pelletier/go-toml/v2"

	"github.com/shoal-project/shoal/pkg/containerd/configtoml"
)

// An olderContainerd is one of before 2.3. What it made of the set-ups, by its config dump, is
// kept in a file.
type olderContainerd struct {
	version  string
	releases []configtoml.Release // that make the same of them
	plugin   string               // that pulls images
	unlike   []string             // the set-ups of which Load says something else than the dump
}

const criPlugin = "io.containerd.grpc.v1.cri" // pulls images in 1.x

func olderContainerds() []olderContainerd {
	return []olderContainerd{
		// Where there is no main file the dump fails, and the daemon starts.
		{"1.7.35", []configtoml.Release{configtoml.One}, criPlugin, []string{"missing"}},
		// Where an import is missing the dump goes on, and the daemon does not start.
		// No 2.1 and no 2.2 was run. By their sources (2.1.0, 2.1.9, 2.2.2 and 2.2.9 were read) they
		// load, merge and migrate with the functions of 2.0.14, word for word.
		{"2.0.14", []configtoml.Release{configtoml.TwoZero, configtoml.TwoOne, configtoml.TwoTwo}, "io.containerd.cri.v1.images", []string{"import_missing"}},
	}
}

func (c olderContainerd) kept() string { return "testdata/containerd-" + c.version + ".golden" }

func TestLoadAgreesWithOlderContainerds(t *testing.T) {
	for _, older := range olderContainerds() {
		golden, err := os.ReadFile(older.kept())
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]bool{}
		for line := range strings.Lines(string(golden)) {
			want[line] = true
		}
		for _, s := range setups(t) {
			if slices.Contains(older.unlike, s.name) {
				continue
			}
			for _, release := range older.releases {
				got := s.name + " fails\n"
				if c, err := configtoml.Load(disk{}, s.main(), release); err == nil {
					got = agreed(s, c.Path, c.DiscardUnpackedLayers, c.Mirrors)
				}
				if !want[got] {
					t.Errorf("%s: not in %s: %s", release, older.kept(), got)
				}
			}
		}
	}
}

// The files are what the real ones say. The programs are built by the tests of other clients.
func TestOlderContainerdsSayTheSame(t *testing.T) {
	for _, older := range olderContainerds() {
		t.Run(older.version, func(t *testing.T) {
			home, err := os.UserHomeDir()
			if err != nil {
				t.Fatal(err)
			}
			program := filepath.Join(home, ".cache", "shoal-clients", "containerd-v"+older.version)
			skipWithout(t, program, "e2e-clients")
			var says strings.Builder
			for _, s := range setups(t) {
				says.WriteString(older.dump(t, program, s))
			}
			golden, err := os.ReadFile(older.kept())
			if err != nil || says.String() != string(golden) {
				t.Errorf("%v; it says\n%s", err, &says)
			}
		})
	}
}

// dump is the line about a set-up that the program itself gives.
func (c olderContainerd) dump(t *testing.T, program string, s setup) string {
	t.Helper()
	output, err := exec.Command(program, "--config", s.main(), "config", "dump").Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return s.name + " fails\n"
	}
	var d dump
	if err := errors.Join(err, toml.Unmarshal(output, &d)); err != nil {
		t.Fatalf("%s: %v", s.name, err)
	}
	images := d.Plugins[c.plugin]
	if c.plugin == criPlugin {
		images.Discard = discards17(t, output)
	}
	return agreed(s, images.Registry.ConfigPath, images.Discard, len(images.Registry.Mirrors) > 0)
}

// discards17 reads the setting where containerd 1.x has it.
func discards17(t *testing.T, output []byte) bool {
	t.Helper()
	var d struct {
		Plugins map[string]struct {
			Containerd struct {
				Discard bool `toml:"discard_unpacked_layers"`
			} `toml:"containerd"`
		} `toml:"plugins"`
	}
	if err := toml.Unmarshal(output, &d); err != nil {
		t.Fatal(err)
	}
	return d.Plugins[criPlugin].Containerd.Discard
}

// agreed is a line of the files: what both have to make of a set-up.
func agreed(s setup, path string, discard, mirrors bool) string {
	path = strings.ReplaceAll(path, s.root, "@ROOT@")
	return fmt.Sprintf("%s path=%q discard=%t mirrors=%t\n", s.name, path, discard, mirrors)
}

// 2.0 to 2.2 take all files for ones of the last one's version, and config_path comes from the
// file that says it under the name that this version has.
func TestVersionOfAll(t *testing.T) {
	type result struct {
		version int
		file    string
	}
	want := map[string]result{
		"no_version":            {3, ""},
		"kubeadm_v2":            {2, "config.toml"},
		"v2_imports_v3":         {3, ""},
		"v2_imports_no_version": {2, "conf.d/1.toml"},
		"v2_new_name":           {2, "config.toml"},
		"v3_imports_v2":         {2, "config.toml"},
		"both_names_apart":      {2, "config.toml"},
		"drop_in":               {3, "more/deep.toml"},
	}
	for _, s := range setups(t) {
		w, named := want[s.name]
		if !named {
			continue
		}
		for _, release := range []configtoml.Release{configtoml.TwoZero, configtoml.TwoOne, configtoml.TwoTwo} {
			c, err := configtoml.Load(disk{}, s.main(), release)
			got := result{c.Version, strings.TrimPrefix(c.PathFile, s.root+"/")}
			if err != nil || got != w {
				t.Errorf("%s, %s: %v, %v, want %v", s.name, release, got, err, w)
			}
		}
	}
	apart := memory{"/config.toml": "version = 2\nimports = ['/d']\n", "/d": "plugins = {'io.containerd.grpc.v1.cri' = 1}\n"}
	if _, err := configtoml.Load(apart, "/config.toml", configtoml.TwoZero); err == nil || !strings.Contains(err.Error(), "is not a table") {
		t.Errorf("a number in place of a table: %v", err)
	}
}
