package e2e

import (
	"net/http"
	"strings"
	"testing"
)

// Private content goes to whom the registry accepts and to nobody else, though every
// byte of it lies in the node's own store (P4).
func TestPrivateImage(t *testing.T) {
	owner, stranger, guest := testUsers()
	lab := NewPrivateLab(t, owner, stranger)
	image := lab.Registry.Push("private/app", 12*MiB)
	first, second := lab.AddNode(MirrorOnly), lab.AddNode(MirrorOnly)
	startAll(first, second)

	for _, node := range []*Node{first, second} {
		if err := node.Pull(image.Tagged, &owner); err != nil {
			t.Fatalf("the owner's pull on %s: %v", node.Name, err)
		}
		node.Check(image.Tagged, image)
	}
	wantRead(t, lab, image, 0, 0.05, second)

	// On both nodes everything is there now. The errors are the token server's and the
	// registry's own, as a pull without Shoal brings them.
	direct := lab.AddNode(NoMirror)
	for _, refused := range []struct {
		who  string
		user *User
		says string
	}{
		{"nobody", nil, "failed to fetch anonymous token"},
		{"a wrong password", &guest, "failed to fetch oauth token"},
		{"a user without permission", &stranger, "insufficient_scope"},
	} {
		for _, node := range []*Node{direct, first, second} {
			err := node.Pull(image.Tagged, refused.user)
			if err == nil || !strings.Contains(err.Error(), refused.says) {
				t.Errorf("%s on %s: %v, want an error with %q", refused.who, node.Name, err, refused.says)
			}
		}
	}
	refuseUnasked(t, first, image)
}

// refuseUnasked asks the mirror for the content itself, as a program on the node would
// that knows the digests and no secret.
func refuseUnasked(t *testing.T, node *Node, image Image) {
	t.Helper()
	paths := []string{
		"/v2/private/app/manifests/1", "/v2/private/app/manifests/" + image.Manifest,
		"/v2/private/app/blobs/" + image.Layers[0].Digest, "/v2/private/app/blobs/" + image.Layers[1].Digest,
	}
	token, err := node.lab.Registry.tokens.sign("owner", []grant{
		{Type: "repository", Name: "private/app", Actions: []string{"pull"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		if status, _ := node.Ask(path, "Bearer "+token); status != http.StatusOK {
			t.Errorf("%s with a good token: status %d", path, status)
		}
		for _, authorization := range []string{"", "Bearer forged", "Basic Z3Vlc3Q6d3Jvbmc="} {
			if status, _ := node.Ask(path, authorization); status != http.StatusUnauthorized {
				t.Errorf("%s with authorization %q: status %d", path, authorization, status)
			}
		}
	}
}
