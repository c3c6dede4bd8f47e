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

// Two tenants whose images share a layer: each pulls its own through Shoal, on a second node from members, and
// neither gets the other's, under no name, though all of it lies on both nodes, the common layer once.
func TestPrivateTenants(t *testing.T) {
	left := User{Name: "left", Password: "l3ft-passw0rd", Repositories: []string{"tenant/left"}}
	right := User{Name: "right", Password: "r1ght-passw0rd", Repositories: []string{"tenant/right"}}
	lab := NewPrivateLab(t, left, right)
	ofLeft, ofRight := lab.Registry.Push("tenant/left", 8*MiB), lab.Registry.Push("tenant/right", 8*MiB)
	common := ofLeft.Layers[0]
	if ofRight.Layers[0] != common {
		t.Fatal("the images have no layer in common")
	}
	tenants := []struct {
		user       User
		own, other Image
	}{{left, ofLeft, ofRight}, {right, ofRight, ofLeft}}
	first, second := lab.AddNode(MirrorOnly), lab.AddNode(MirrorOnly)
	startAll(first, second)
	for _, node := range []*Node{first, second} {
		for _, tenant := range tenants {
			if err := node.Pull(tenant.own.Tagged, &tenant.user); err != nil {
				t.Fatalf("the pull of %s on %s: %v", tenant.user.Name, node.Name, err)
			}
			node.Check(tenant.own.Tagged, tenant.own)
			node.RemoveImage(tenant.own.Tagged) // containerd asks for the common layer again
		}
	}
	wantRead(t, lab, ofLeft, 0, 0.05, second)
	wantRead(t, lab, ofRight, 0, 0.05, second)
	if sent := lab.Registry.Bytes(Blobs, Named(common.Digest), From(first.Address)); sent > common.Size+common.Size/20 {
		t.Errorf("the registry sent %d bytes of a layer of %d that two images share", sent, common.Size)
	}

	for _, node := range []*Node{first, second} {
		for _, tenant := range tenants {
			err := node.Pull(tenant.other.Tagged, &tenant.user)
			if err == nil || !strings.Contains(err.Error(), "insufficient_scope") {
				t.Errorf("%s pulls the other's image on %s: %v", tenant.user.Name, node.Name, err)
			}
			askAsTenant(t, node, tenant.user, tenant.own, tenant.other, common)
		}
	}
}

// askAsTenant asks the mirror for the tenant's own content and for the other's, under both repositories.
func askAsTenant(t *testing.T, node *Node, user User, own, other Image, common Layer) {
	t.Helper()
	token, err := node.lab.Registry.tokens.sign(user.Name, user.grants("repository:"+user.Repositories[0]+":pull"))
	if err != nil {
		t.Fatal(err)
	}
	at := "/v2/" + user.Repositories[0]
	elsewhere := "/v2/tenant/left"
	if at == elsewhere {
		elsewhere = "/v2/tenant/right"
	}
	for path, want := range map[string]int{
		at + "/blobs/" + common.Digest:             http.StatusOK,
		at + "/blobs/" + own.Layers[1].Digest:      http.StatusOK,
		at + "/manifests/" + own.Manifest:          http.StatusOK,
		at + "/blobs/" + other.Layers[1].Digest:    http.StatusNotFound,
		at + "/manifests/" + other.Manifest:        http.StatusNotFound,
		elsewhere + "/blobs/" + common.Digest:      http.StatusUnauthorized,
		elsewhere + "/manifests/1":                 http.StatusUnauthorized,
		elsewhere + "/manifests/" + other.Manifest: http.StatusUnauthorized,
	} {
		if status, _ := node.Ask(path, "Bearer "+token); status != want {
			t.Errorf("%s asks %s for %s: status %d, want %d", user.Name, node.Name, path, status, want)
		}
	}
}
