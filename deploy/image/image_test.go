package main

import (
	"archive/tar"
	"bytes"
	"crypto/x509"
	"debug/elf"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

func testRelease() release {
	return release{version: "v0.0.1-test", commit: "0123456789abcdef", epoch: time.Unix(1_700_000_000, 0).UTC()}
}

// copySource copies what the daemon is built from to another folder.
func copySource(t *testing.T) string {
	t.Helper()
	to := t.TempDir()
	for _, name := range []string{"cmd", "p2p", "pkg", "proxy", "scheduler"} {
		if err := os.CopyFS(filepath.Join(to, name), os.DirFS(filepath.Join("../..", name))); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"go.mod", "go.sum"} {
		content, err := os.ReadFile(filepath.Join("../..", name))
		if err == nil {
			err = os.WriteFile(filepath.Join(to, name), content, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return to
}

// Whoever builds a release from its source gets its image, bit for bit.
func TestTwoFoldersGiveTheSameImage(t *testing.T) {
	skipUnderRace(t)
	t.Setenv("GOFLAGS", "-tags=of_whoever_builds")
	var digests, archives [2]string
	for i, folder := range []string{copySource(t), copySource(t)} {
		made, err := testRelease().make(t.Context(), folder, platforms())
		if err != nil {
			t.Fatal(err)
		}
		out := t.TempDir()
		if err := made.write(out); err != nil {
			t.Fatal(err)
		}
		digest, err := made.index.Digest()
		if err != nil {
			t.Fatal(err)
		}
		archive, err := os.ReadFile(filepath.Join(out, "shoal-oci.tar"))
		if err != nil {
			t.Fatal(err)
		}
		digests[i], archives[i] = digest.String(), string(archive)
		if i == 0 {
			checkPrograms(t, made.index)
		}
	}
	if digests[0] != digests[1] {
		t.Errorf("digests differ: %v", digests)
	}
	if archives[0] != archives[1] {
		t.Error("the archives differ")
	}
}

// checkPrograms fails unless each platform has a program of its own that needs no other file.
func checkPrograms(t *testing.T, index v1.ImageIndex) {
	t.Helper()
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	machines := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}
	for _, d := range manifest.Manifests {
		program, err := elf.NewFile(bytes.NewReader(filesIn(t, index, d.Digest)[binaryPath].content))
		if err != nil {
			t.Fatal(err)
		}
		if want := machines[d.Platform.Architecture]; program.Machine != want {
			t.Errorf("the program for %s is for %s", d.Platform, program.Machine)
		}
		for _, part := range program.Progs {
			if part.Type == elf.PT_INTERP || part.Type == elf.PT_DYNAMIC {
				t.Errorf("the program for %s is not static: it has %s", d.Platform, part.Type)
			}
		}
	}
	if len(manifest.Manifests) != len(machines) {
		t.Errorf("%d platforms", len(manifest.Manifests))
	}
}

// testImage is an image of this very program, which is a Go binary as well.
func testImage(t *testing.T) *image {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	made := newImage(testRelease())
	for _, p := range platforms() {
		if err := made.add(p, self); err != nil {
			t.Fatal(err)
		}
	}
	return made
}

func skipUnderRace(t *testing.T) {
	t.Helper()
	if raceDetector {
		t.Skip("make unit runs it without the race detector, too")
	}
}

// A registry that knows referrers names the list of modules for each platform's image.
func TestPushed(t *testing.T) {
	skipUnderRace(t)
	out := t.TempDir()
	if err := testImage(t).write(out); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(registry.New(registry.WithReferrersSupport(true), registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	host := strings.TrimPrefix(server.URL, "http://")
	ref, err := name.ParseReference(host+"/shoal:v1", name.StrictValidation)
	if err != nil {
		t.Fatal(err)
	}
	digest, err := push(t.Context(), filepath.Join(out, "oci"), ref)
	if err != nil {
		t.Fatal(err)
	}
	index, err := remote.Index(digest)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if len(manifest.Manifests) != 2 || manifest.Annotations["org.opencontainers.image.version"] != "v0.0.1-test" {
		t.Errorf("%+v", manifest)
	}
	for _, d := range manifest.Manifests {
		if d.Platform == nil || d.Platform.OS != "linux" {
			t.Errorf("%s: platform %v", d.Digest, d.Platform)
		}
		checkReferrer(t, ref.Context().Digest(d.Digest.String()))
		checkFiles(t, index, d.Digest)
	}
}

func checkReferrer(t *testing.T, of name.Digest) {
	t.Helper()
	found, err := remote.Referrers(of)
	if err != nil {
		t.Fatal(err)
	}
	all, err := found.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if len(all.Manifests) != 1 || all.Manifests[0].ArtifactType != spdxType {
		t.Fatalf("referrers of %s: %+v", of, all.Manifests)
	}
	img, err := remote.Image(of.Digest(all.Manifests[0].Digest.String()))
	if err != nil {
		t.Fatal(err)
	}
	layers, err := img.Layers()
	if err != nil || len(layers) != 1 {
		t.Fatalf("%d layers, %v", len(layers), err)
	}
	content, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	var d document
	if err := json.NewDecoder(content).Decode(&d); err != nil {
		t.Fatal(err)
	}
	checkDocument(t, d)
}

// checkDocument holds a list against what SPDX asks for, and against the modules that are
// in this program.
func checkDocument(t *testing.T, d document) {
	t.Helper()
	ids, urls := map[string]bool{d.ID: true}, map[string]bool{}
	for _, p := range d.Packages {
		if ids[p.ID] || notID().MatchString(strings.TrimPrefix(p.ID, "SPDXRef-")) {
			t.Errorf("the ID %q is not one, or is there twice", p.ID)
		}
		ids[p.ID] = true
		for _, r := range p.Refs {
			urls[strings.SplitN(r.Locator, "@", 2)[0]] = true
		}
	}
	for _, r := range d.Relationships {
		if !ids[r.From] || !ids[r.To] {
			t.Errorf("%+v is about what is not there", r)
		}
	}
	for _, module := range []string{"stdlib", "github.com/google/go-containerregistry", "golang.org/x/crypto/x509roots/fallback"} {
		if !urls["pkg:golang/"+module] {
			t.Errorf("%s is missing", module)
		}
	}
	if len(d.Packages[0].Sums) != 1 || d.Version != "SPDX-2.3" || d.Namespace == "" {
		t.Errorf("%+v", d.Packages[0])
	}
}

// A file is one of an image's.
type file struct {
	*tar.Header

	content []byte
}

// filesIn are those of one platform's image.
func filesIn(t *testing.T, index v1.ImageIndex, digest v1.Hash) map[string]file {
	t.Helper()
	img, err := index.Image(digest)
	if err != nil {
		t.Fatal(err)
	}
	flat := mutate.Extract(img)
	defer func() { _ = flat.Close() }()
	files := map[string]file{}
	for r := tar.NewReader(flat); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		files[h.Name] = file{h, content}
	}
}

func checkFiles(t *testing.T, index v1.ImageIndex, digest v1.Hash) {
	t.Helper()
	img, err := index.Image(digest)
	if err != nil {
		t.Fatal(err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if config.Config.User != "65532:65532" || !config.Created.Equal(testRelease().epoch) {
		t.Errorf("%+v", config)
	}
	for label, want := range map[string]string{
		"version": testRelease().version, "revision": testRelease().commit, "licenses": "Apache-2.0",
		"source": "https://github.com/shoal-project/shoal",
	} {
		if got := config.Config.Labels["org.opencontainers.image."+label]; got != want {
			t.Errorf("the label %s is %q, want %q", label, got, want)
		}
	}
	files := filesIn(t, index, digest)
	for name, f := range files {
		if f.Uid != 0 || f.Gid != 0 || !f.ModTime.Equal(testRelease().epoch) {
			t.Errorf("%s: owner %d:%d, time %v", name, f.Uid, f.Gid, f.ModTime)
		}
	}
	if program := files[binaryPath]; program.Header == nil || program.Mode != 0o755 || program.Size == 0 {
		t.Errorf("%+v", program.Header)
	}
	if files[certificatesPath].Header == nil {
		t.Error("no CA certificates")
	}
}

func TestCertificates(t *testing.T) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(certificates()) {
		t.Fatal("no certificate can be read")
	}
	if n := strings.Count(string(certificates()), "BEGIN CERTIFICATE"); n < 80 {
		t.Errorf("%d certificates", n)
	}
}

func TestTooLarge(t *testing.T) {
	small, err := random.Layer(1<<10, "application/vnd.oci.image.layer.v1.tar+gzip")
	if err != nil {
		t.Fatal(err)
	}
	large, err := random.Layer(sizeMax+1, "application/vnd.oci.image.layer.v1.tar+gzip")
	if err != nil {
		t.Fatal(err)
	}
	if err := checkSize(small); err != nil {
		t.Error(err)
	}
	if err := checkSize(small, large); err == nil {
		t.Error("an image that is too large is no error")
	}
}

func TestNothingOfTheEnvironment(t *testing.T) {
	got := neutral([]string{"PATH=/bin", "GOFLAGS=-race", "GOEXPERIMENT=x", "GOOS=plan9", "GOCACHE=/c"})
	if want := "PATH=/bin GOCACHE=/c GOWORK=off"; strings.Join(got, " ") != want {
		t.Errorf("%v", got)
	}
}
