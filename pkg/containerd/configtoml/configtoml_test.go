package configtoml_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pelletier/go-toml/v2"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/shoal-project/shoal/pkg/containerd/configtoml"
)

// A disk is the Source of the operating system.
type disk struct{}

func (disk) ReadFile(name string) ([]byte, error)          { return os.ReadFile(name) }
func (disk) Glob(pattern string) (names []string, _ error) { return filepath.Glob(pattern) }

// A setup is one file of the corpus: a description, what is expected of containerd 2.3
// and later, and the files.
type setup struct {
	name, root string
	want       map[string]string
}

func (s setup) main() string { return filepath.Join(s.root, "config.toml") }

// setups unpacks the corpus. @ROOT@ in a file is the folder of its set-up.
func setups(t *testing.T) []setup {
	t.Helper()
	names, err := filepath.Glob("testdata/corpus/*.txtar")
	if err != nil || len(names) < 30 {
		t.Fatalf("%d files, %v", len(names), err)
	}
	all := make([]setup, 0, len(names))
	for _, name := range names {
		archive, err := txtar.ParseFile(name)
		if err != nil {
			t.Fatal(err)
		}
		s := setup{name: strings.TrimSuffix(filepath.Base(name), ".txtar"), root: t.TempDir(), want: map[string]string{}}
		for line := range strings.Lines(string(archive.Comment)) {
			key, value, isSetting := strings.Cut(strings.TrimSpace(line), "=")
			if isSetting || !strings.Contains(line, " ") {
				s.want[key] = value
			}
		}
		for _, f := range archive.Files {
			path := filepath.Join(s.root, f.Name)
			content := bytes.ReplaceAll(f.Data, []byte("@ROOT@"), []byte(s.root))
			if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, content, 0o600)); err != nil {
				t.Fatal(err)
			}
		}
		all = append(all, s)
	}
	return all
}

func TestLoad(t *testing.T) {
	for _, s := range setups(t) {
		c, err := configtoml.Load(disk{}, s.main(), configtoml.Newest)
		if want, failing := s.want["error"]; failing {
			if _, ok := errors.AsType[*configtoml.FileError](err); !ok || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %q", s.name, err, want)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", s.name, err)
			continue
		}
		got := map[string]string{"path": c.Path}
		if folders := c.Folders(); folders != nil {
			got["folders"] = strings.Join(folders, " ")
		}
		if c.OlderPull != "" {
			got["older"] = c.OlderPull
		}
		for flag, set := range map[string]bool{
			"trapped": c.Trapped(), "disabled": c.Disabled, "discard": c.DiscardUnpackedLayers, "mirrors": c.Mirrors, "missing": c.Missing,
		} {
			if set {
				got[flag] = ""
			}
		}
		if _, named := s.want["files"]; named {
			files := strings.Join(c.Files, " ")
			got["files"] = strings.ReplaceAll(files, s.root+"/", "")
		}
		if fmt.Sprint(got) != fmt.Sprint(s.want) {
			t.Errorf("%s: got %v, want %v", s.name, got, s.want)
		}
		if (c.Path == "") != (c.PathFile == "") {
			t.Errorf("%s: %q is set in %q", s.name, c.Path, c.PathFile)
		}
	}
}

// A dump is what containerd config dump says of images.
type dump struct {
	Plugins map[string]struct {
		Discard     bool  `toml:"discard_unpacked_layers"`
		Local       bool  `toml:"use_local_image_pull"`
		Annotations bool  `toml:"disable_snapshot_annotations"`
		Downloads   int64 `toml:"max_concurrent_downloads"`
		Registry    struct {
			ConfigPath string         `toml:"config_path"`
			Mirrors    map[string]any `toml:"mirrors"`
		} `toml:"registry"`
	} `toml:"plugins"`
	Disabled []string `toml:"disabled_plugins"`
}

// newestContainerd is the program that the end to end tests build. Without it the test is skipped.
func newestContainerd(t *testing.T) string {
	t.Helper()
	program, err := filepath.Abs("../../../bin/tools/containerd")
	if err != nil {
		t.Fatal(err)
	}
	skipWithout(t, program, "e2e")
	return program
}

// skipWithout skips the test where a program is missing, which a target of the Makefile builds.
func skipWithout(t *testing.T, program, target string) {
	t.Helper()
	if _, err := os.Stat(program); errors.Is(err, fs.ErrNotExist) {
		t.Skipf("no %s: make %s builds it", program, target)
	}
}

// The real containerd makes the same of every set-up, and fails where Load does. The
// program is built by the end to end tests.
func TestLoadAgreesWithContainerd(t *testing.T) {
	program := newestContainerd(t)
	for _, s := range setups(t) {
		c, err := configtoml.Load(disk{}, s.main(), configtoml.Newest)
		output, dumpErr := exec.Command(program, "--config", s.main(), "config", "dump").Output()
		if err != nil && dumpErr == nil { // the dump forgives a missing file, the daemon does not
			dumpErr = refusesToStart(t, program, s.main())
		}
		if (err != nil) != (dumpErr != nil) {
			t.Errorf("%s: %v, containerd: %v", s.name, err, dumpErr)
		}
		if err != nil || dumpErr != nil {
			continue
		}
		var d dump
		if err := toml.Unmarshal(output, &d); err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		images := d.Plugins["io.containerd.cri.v1.images"]
		if c.Path != images.Registry.ConfigPath {
			t.Errorf("%s: config_path %q, containerd has %q", s.name, c.Path, images.Registry.ConfigPath)
		}
		if c.DiscardUnpackedLayers != images.Discard || c.Mirrors != (len(images.Registry.Mirrors) > 0) {
			t.Errorf("%s: %+v, containerd has %+v", s.name, c, images)
		}
		disabled := slices.Contains(d.Disabled, "io.containerd.grpc.v1.cri")
		if c.Disabled != disabled {
			t.Errorf("%s: disabled %v, containerd has %v", s.name, c.Disabled, disabled)
		}
		if older := images.Discard || images.Local || !images.Annotations || images.Downloads != 3; older && c.OlderPull == "" {
			t.Errorf("%s: containerd has %+v", s.name, images)
		}
	}
}

// refusesToStart returns how containerd fails with a file that is missing; it must not run.
func refusesToStart(t *testing.T, program, main string) error {
	t.Helper()
	command := exec.Command(program, "--config", main, "--root", t.TempDir(), "--state", t.TempDir(), "--address", filepath.Join(t.TempDir(), "sock"))
	var stderr bytes.Buffer
	command.Stderr = &stderr
	stop := time.AfterFunc(time.Minute, func() { _ = command.Process.Kill() })
	defer stop.Stop()
	if err := command.Run(); err == nil || !strings.Contains(stderr.String(), "no such file or directory") {
		t.Errorf("containerd started with %s: %s", main, &stderr)
	}
	return fs.ErrNotExist
}

// The releases of before read the same files differently.
func TestLoadReleases(t *testing.T) {
	type result struct{ path, folders, older string }
	const refused = "does not know version"
	want := map[string]map[configtoml.Release]result{
		"kubeadm_v2": {
			configtoml.One:     {"/etc/containerd/certs.d", "[/etc/containerd/certs.d]", "containerd 1.x"},
			configtoml.TwoZero: {"/etc/containerd/certs.d", "[/etc/containerd/certs.d]", "containerd 2.0"},
		},
		"two_folders_v3": {
			configtoml.One:     {refused, "[]", ""},
			configtoml.TwoZero: {"/etc/containerd/certs.d:/etc/docker/certs.d", "[/etc/containerd/certs.d /etc/docker/certs.d]", "containerd 2.0"},
			configtoml.TwoOne:  {"/etc/containerd/certs.d:/etc/docker/certs.d", "[]", ""},
			configtoml.TwoTwo:  {"/etc/containerd/certs.d:/etc/docker/certs.d", "[]", ""},
		},
		"eks_al2": {
			configtoml.TwoOne: {"/etc/containerd/certs.d:/etc/docker/certs.d", "[/etc/containerd/certs.d /etc/docker/certs.d]", "discard_unpacked_layers"},
		},
		"discard_without_runtimes": {
			configtoml.One: {"/etc/containerd/certs.d:/etc/docker/certs.d", "[/etc/containerd/certs.d /etc/docker/certs.d]", "containerd 1.x"},
		},
		"discard_without_path": {
			configtoml.TwoZero: {"", "[]", "containerd 2.0"},
			configtoml.TwoOne:  {"", "[]", "discard_unpacked_layers"},
			configtoml.TwoTwo:  {"", "[/etc/containerd/certs.d /etc/docker/certs.d]", "discard_unpacked_layers"},
		},
		"no_version":    {configtoml.TwoOne: {"", "[]", ""}, configtoml.TwoTwo: {"", "[]", ""}},
		"v3_imports_v2": {configtoml.TwoOne: {"/old", "[/old]", ""}},
		"v3_old_name":   {configtoml.TwoZero: {"", "[]", "containerd 2.0"}, configtoml.TwoOne: {"", "[]", ""}},
		// The imported file's section replaces the main file's.
		"gke_style":     {configtoml.One: {"", "[]", "containerd 1.x"}, configtoml.TwoZero: {"/etc/containerd/hosts.d", "[/etc/containerd/hosts.d]", "containerd 2.0"}},
		"both_names":    {configtoml.One: {"/old", "[/old]", "containerd 1.x"}},
		"v4_one_folder": {configtoml.One: {refused, "[]", ""}, configtoml.TwoZero: {refused, "[]", ""}, configtoml.TwoOne: {refused, "[]", ""}, configtoml.TwoTwo: {refused, "[]", ""}},
	}
	for _, s := range setups(t) {
		for release, w := range want[s.name] {
			c, err := configtoml.Load(disk{}, s.main(), release)
			got := result{c.Path, fmt.Sprint(c.Folders()), c.OlderPull}
			if err != nil && strings.Contains(err.Error(), refused) {
				got.path, err = refused, nil
			}
			if err != nil || got != w {
				t.Errorf("%s, %s: %v, %v, want %v", s.name, release, got, err, w)
			}
		}
	}
}

func TestSocket(t *testing.T) {
	for name, c := range map[string]struct {
		files memory
		want  string
	}{
		"the default":      {memory{"/config.toml": "version = 3\n"}, ""},
		"the table grpc":   {memory{"/config.toml": "version = 2\n[grpc]\naddress = '/run/a'\n"}, "/run/a"},
		"an import counts": {memory{"/config.toml": "version = 3\nimports = ['/d']\n[grpc]\naddress = '/run/a'\n", "/d": "version = 3\n[grpc]\naddress = '/run/b'\n"}, "/run/b"},
		"the plugin":       {memory{"/config.toml": "version = 4\n[plugins.'io.containerd.server.v1.grpc']\naddress = '/run/c'\n"}, "/run/c"},
	} {
		got, err := configtoml.Load(c.files, "/config.toml", configtoml.Newest)
		if err != nil || got.Socket != c.want {
			t.Errorf("%s: %q, %v, want %q", name, got.Socket, err, c.want)
		}
	}
	if _, err := configtoml.Load(memory{"/config.toml": "version = 4\n[plugins.'io.containerd.server.v1.grpc']\naddress = 3\n"}, "/config.toml", configtoml.Newest); err == nil {
		t.Error("a number was taken for an address")
	}
}

func TestParseRelease(t *testing.T) {
	for version, want := range map[string]configtoml.Release{
		"1.6.36": configtoml.One, "v1.7.27": configtoml.One, "1": configtoml.One, "2.0": configtoml.TwoZero, "2.0.5": configtoml.TwoZero,
		"2.1": configtoml.TwoOne, "2.1.9": configtoml.TwoOne, "v2.2.9": configtoml.TwoTwo, "2.2.0-rc.1+x": configtoml.TwoTwo,
		"2.3": configtoml.Newest, "v2.4.2": configtoml.Newest, "2.10": configtoml.Newest, "3.0.0": configtoml.Newest,
	} {
		if got, err := configtoml.ParseRelease(version); err != nil || got != want {
			t.Errorf("%s: %v, %v", version, got, err)
		}
	}
	for _, version := range []string{"", "2", "0.9", "two", "2.x", "-1.0", strings.Repeat("9", 10_000)} {
		if got, err := configtoml.ParseRelease(version); err == nil || len(err.Error()) > 200 {
			t.Errorf("%.20q: %v, %v", version, got, err)
		}
	}
}

// A memory is a Source without a disk.
type memory map[string]string

func (m memory) ReadFile(name string) ([]byte, error) {
	if content, ok := m[name]; ok {
		return []byte(content), nil
	}
	return nil, fs.ErrNotExist
}

func (m memory) Glob(pattern string) ([]string, error) {
	var names []string
	for name := range m {
		matched, err := filepath.Match(pattern, name)
		if err != nil {
			return nil, err
		}
		if matched {
			names = append(names, name)
		}
	}
	return names, nil
}

func TestLoadIsBounded(t *testing.T) {
	many := memory{"/config.toml": "imports = ['/d/*']\n"}
	chain := memory{"/config.toml": "imports = ['/0']\n"}
	for i := range 600 {
		many[fmt.Sprintf("/d/%d", i)] = ""
		chain[fmt.Sprintf("/%d", i)] = fmt.Sprintf("imports = ['/%d']\n", i+1)
	}
	for name, c := range map[string]struct {
		files memory
		want  string
	}{
		"many imports":    {many, "more than 500 files"},
		"a long chain":    {chain, "more than 500 files"},
		"a large file":    {memory{"/config.toml": strings.Repeat("#", configtoml.SizeMax+1)}, "larger than"},
		"deep arrays":     {memory{"/config.toml": "a = " + strings.Repeat("[", 100_000)}, "line 1"},
		"a bad pattern":   {memory{"/config.toml": "imports = ['/[*']\n"}, "syntax error in pattern"},
		"a table's place": {memory{"/config.toml": "version = 2\nplugins = {'io.containerd.grpc.v1.cri' = 1}\n"}, "is not a table"},
		"and the other's": {memory{"/config.toml": "version = 2\nplugins = {'io.containerd.grpc.v1.cri' = {}, 'io.containerd.cri.v1.images' = 1}\n"}, "is not a table"},
		"no such plugins": {memory{"/config.toml": "version = 3\nplugins = 4\n"}, "line 2"},
		"a registry":      {memory{"/config.toml": "version = 3\n[plugins.'io.containerd.cri.v1.images']\nregistry = 1\n"}, "registry is not a table"},
		"mirrors":         {memory{"/config.toml": "version = 3\n[plugins.'io.containerd.cri.v1.images'.registry]\nmirrors = 1\n"}, "mirrors is not a table"},
		"configs":         {memory{"/config.toml": "version = 3\n[plugins.'io.containerd.cri.v1.images'.registry]\nconfigs = 1\n"}, "configs is not a table"},
		"downloads":       {memory{"/config.toml": "version = 3\n[plugins.'io.containerd.cri.v1.images']\nmax_concurrent_downloads = '3'\n"}, "wrong type"},
		"annotations":     {memory{"/config.toml": "version = 3\n[plugins.'io.containerd.cri.v1.images']\ndisable_snapshot_annotations = 3\n"}, "wrong type"},
	} {
		_, err := configtoml.Load(c.files, "/config.toml", configtoml.Newest)
		if err == nil || !strings.Contains(err.Error(), c.want) || len(err.Error()) > 500 {
			t.Errorf("%s: %v", name, err)
		}
	}
	deep := memory{"/config.toml": "[" + strings.Repeat("a.", 200_000) + "a]\n"}
	if _, err := configtoml.Load(deep, "/config.toml", configtoml.Newest); err != nil {
		t.Errorf("deep tables: %v", err)
	}
}

// Whatever the files hold, Load ends, and folders are absolute.
func FuzzLoad(f *testing.F) {
	names, err := filepath.Glob("testdata/corpus/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range names {
		archive, err := txtar.ParseFile(name)
		if err != nil {
			f.Fatal(err)
		}
		var first, second []byte
		if len(archive.Files) > 0 {
			first = archive.Files[0].Data
		}
		if len(archive.Files) > 1 {
			second = archive.Files[1].Data
		}
		f.Add(first, second, uint8(0))
	}
	f.Fuzz(func(t *testing.T, main, other []byte, release uint8) {
		files := memory{"/etc/containerd/config.toml": string(main), "/etc/containerd/conf.d/1.toml": string(other)}
		c, err := configtoml.Load(files, "/etc/containerd/config.toml", configtoml.Release(release%5))
		if err != nil {
			return
		}
		for _, folder := range c.Folders() {
			if !filepath.IsAbs(folder) || filepath.Clean(folder) != folder {
				t.Errorf("folder %q", folder)
			}
		}
		if c.Trapped() && c.Folders() != nil {
			t.Error("trapped, and yet it looks somewhere")
		}
	})
}
