package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A node prefetches a private image with its own login, and another has it from there with its own. Then
// containerd pulls it from what is here, for whoever the registry lets have it; the node's login opens it
// to nobody (P4), and shows nowhere.
func TestPrefetchPrivateImage(t *testing.T) {
	owner, stranger, guest := testUsers()
	lab := NewPrivateLab(t, owner, stranger)
	image := lab.Registry.Push("private/app", 12*MiB, 3*MiB)
	first, second := lab.AddNode(MirrorOnly), lab.AddNode(MirrorOnly)
	first.logIn(owner, lab.Registry.Host)
	second.logIn(owner, lab.Registry.Host)
	startAll(first, second)

	for i, n := range []*Node{first, second} {
		got, said, err := n.prefetch(image.Tagged)
		if err != nil {
			t.Fatalf("prefetching on %s: %v: %s", n.Name, err, said)
		}
		if got.State != "done" || got.Digest != image.Manifest || got.Blobs != len(image.Layers)+1 || got.Done != got.Blobs || got.Have != got.Size {
			t.Errorf("%s prefetched %+v", n.Name, got)
		}
		if fromPeers := got.FromPeers > 12*MiB; fromPeers != (i == 1) {
			t.Errorf("%s had %d bytes from peers", n.Name, got.FromPeers)
		}
	}
	wantRead(t, lab, image, 0, 0.05, second)

	// Who was refused before is refused now.
	for _, user := range []*User{nil, &stranger, &guest} {
		if err := first.Pull(image.Tagged, user); err == nil {
			t.Errorf("the prefetched image went to %+v", user)
		}
	}
	for _, path := range []string{"manifests/1", "manifests/" + image.Manifest, "blobs/" + image.Layers[1].Digest} {
		if status, _ := first.Ask("/v2/private/app/"+path, ""); status != http.StatusUnauthorized {
			t.Errorf("%s without a credential: status %d", path, status)
		}
	}
	lab.Registry.Forget()
	if err := first.Pull(image.Tagged, &owner); err != nil {
		t.Fatal(err)
	}
	first.Check(image.Tagged, image)
	if sent := lab.Registry.Bytes(Blobs); sent != 0 {
		t.Errorf("the registry sent %d bytes of what was prefetched", sent)
	}
	first.hides(owner.Password)
}

// What cannot be prefetched says what to do, with an exit code.
func TestPrefetchRefused(t *testing.T) {
	owner, stranger, _ := testUsers()
	lab := NewPrivateLab(t, owner, stranger)
	image := lab.Registry.Push("private/app", MiB)
	anonymous, wrong := lab.AddNode(MirrorOnly), lab.AddNode(MirrorOnly)
	wrong.logIn(stranger, lab.Registry.Host)
	anonymous.logIn(owner, "other.example") // so that the lab's registry must not see it
	if err := os.Chmod(filepath.Join(wrong.dir, "docker.json"), 0o644); err != nil {
		t.Fatal(err)
	}
	startAll(anonymous, wrong)
	for _, c := range []struct {
		node     *Node
		ref, say string
	}{
		{anonymous, image.Tagged, "wants a login (401); name it with --credentials-registry"},
		{wrong, image.Tagged, "does not let this node's login pull it (401)"},
		{wrong, "a:b:c", "is not the name of an image"},
		{wrong, "10.77.99.99:5000/a:1", "ask 10.77.99.99:5000"},
	} {
		got, said, err := c.node.prefetch(c.ref)
		exit := (*exec.ExitError)(nil)
		if err != nil {
			exit, _ = err.(*exec.ExitError) //nolint:errorlint // prefetch returns it as it is
		}
		if exit == nil || exit.ExitCode() != 1 || got.State != "failed" || !strings.Contains(got.Error, c.say) {
			t.Errorf("%s on %s: %+v, %v: %s", c.ref, c.node.Name, got, err, said)
		}
	}
	if log, err := os.ReadFile(wrong.Daemon().log); err != nil || !strings.Contains(string(log), "docker.json can be read by other users (mode 0644)") {
		t.Errorf("no word about logins that others can read, %v", err)
	}
}

// logIn gives the node's daemon, which must not run yet, a login of its own, by a credential helper that
// has it for every registry, and names the one that may see it.
func (n *Node) logIn(u User, registry string) {
	n.lab.t.Helper()
	answer, err := json.Marshal(map[string]string{"Username": u.Name, "Secret": u.Password})
	if err != nil {
		n.lab.t.Fatal(err)
	}
	file := filepath.Join(n.dir, "docker.json")
	for name, content := range map[string]string{
		file: `{"credsStore":"lab"}`,
		filepath.Join(n.dir, "docker-credential-lab"): "#!/bin/sh\ncat <<'END'\n" + string(answer) + "\nEND\n",
	} {
		if err := os.WriteFile(name, []byte(content), 0o700); err != nil {
			n.lab.t.Fatal(err)
		}
	}
	n.env = []string{"PATH=" + n.dir + ":" + os.Getenv("PATH")} //nolint:forbidigo // a helper is found by PATH
	n.flags = []string{"--credentials-file", file, "--credentials-registry", registry}
}

// A prefetched is what the tests read of "shoal prefetch -o json".
type prefetched struct {
	State     string `json:"state"`
	Error     string `json:"error"`
	Digest    string `json:"digest"`
	Blobs     int    `json:"blobs"`
	Done      int    `json:"blobs_done"`
	Size      int64  `json:"size_bytes"`
	Have      int64  `json:"have_bytes"`
	FromPeers int64  `json:"from_peers_bytes"`
}

// prefetch runs "shoal prefetch" and returns its document and what it said besides.
func (n *Node) prefetch(ref string) (got prefetched, said string, err error) {
	ctx, cancel := context.WithTimeout(n.lab.t.Context(), 2*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, n.lab.site.Tools.Shoal, "prefetch", "--admin-socket", n.Daemon().socket, "-o", "json", ref)
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	_ = json.Unmarshal(out, &got) // what it is not shows in got
	return got, complaints.String(), err
}

// hides fails the test if the secret is in the daemon's log, status, metrics or goroutines.
func (n *Node) hides(secret string) {
	t := n.lab.t
	t.Helper()
	log, err := os.ReadFile(n.Daemon().log)
	if err != nil {
		t.Fatal(err)
	}
	shown := map[string]string{"log": string(log)}
	for _, path := range []string{"/metrics", "/debug/pprof/goroutine?debug=2"} {
		if shown[path], err = n.Daemon().inside(t.Context(), path); err != nil {
			t.Fatal(err)
		}
	}
	for where, text := range shown {
		if text == "" || strings.Contains(text, secret) {
			t.Errorf("%s of %s is empty or shows the secret", where, n.Name)
		}
	}
}
