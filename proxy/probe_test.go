package proxy

import (
	"net/http"
	"strings"
	"testing"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/manifest"
	"github.com/shoal-project/shoal/pkg/probeimage"
)

// The probe is served of itself, by every name that a client may give it, with no registry asked.
func TestProbeImage(t *testing.T) {
	k := newKit(t, nil)
	image, err := probeimage.New()
	if err != nil {
		t.Fatal(err)
	}
	index := image.Index()
	for name, path := range map[string]string{
		"a registry in ns":       "/v2/" + probeimage.Repository + "/manifests/fresh?ns=reg.example%3A5000",
		"Docker Hub":             "/v2/" + probeimage.Repository + "/manifests/fresh?ns=docker.io",
		"a registry in the path": "/v2/reg.example:5000/" + probeimage.Repository + "/manifests/fresh?",
		"no registry":            "/v2/" + probeimage.Repository + "/manifests/fresh?",
		"none that exists":       "/v2/" + probeimage.Repository + "/manifests/fresh?ns=" + probeimage.Registry,
	} {
		t.Run(name, func(t *testing.T) {
			for _, method := range []string{http.MethodHead, http.MethodGet} {
				a := k.do(method, path, "Authorization", "Basic d3Jvbmc6b25l").want(t, http.StatusOK)
				if a.header.Get("Docker-Content-Digest") != index.Digest.String() || a.header.Get("Content-Type") != index.MediaType ||
					a.length != int64(len(index.Bytes)) || a.header.Get("Server") != probeimage.Server {
					t.Errorf("%s: %v, %d bytes", method, a.header, a.length)
				}
			}
		})
	}
	k.probePull(t, index.Digest)
	k.do(http.MethodGet, "/v2/"+probeimage.Repository+"/blobs/"+blob.Digest{1}.String()).want(t, http.StatusNotFound)
	k.do(http.MethodGet, "/v2/"+probeimage.Repository+"/tags/list").want(t, http.StatusNotFound)
	if asked := k.registry.asked(""); len(asked) > 0 {
		t.Errorf("the registry was asked %q", asked)
	}
}

// probePull reads the image from its index down.
func (k *kit) probePull(t *testing.T, d blob.Digest) {
	t.Helper()
	body := k.do(http.MethodGet, "/v2/"+probeimage.Repository+"/manifests/"+d.String()).want(t, http.StatusOK).body
	m, err := manifest.Parse(body)
	if err != nil || digestOf(body) != d {
		t.Fatalf("manifest %s: %v", d, err)
	}
	for _, child := range m.Children() {
		k.probePull(t, child.Digest)
	}
	for _, ref := range m.References() {
		if ref.Role == manifest.Child {
			continue
		}
		path := "/v2/" + probeimage.Repository + "/blobs/" + ref.Digest.String()
		a := k.do(http.MethodGet, path).want(t, http.StatusOK)
		if digestOf(a.body) != ref.Digest || a.header.Get("Content-Type") != octetStream {
			t.Errorf("blob %s: %v", ref.Digest, a.header)
		}
		k.do(http.MethodGet, path, "Range", "bytes=1-2").want(t, http.StatusPartialContent).wantBytes(t, a.body[1:3])
	}
}

// A check finds out from the daemon itself whether a pull came by.
func TestProbeIsCounted(t *testing.T) {
	k := newKit(t, nil)
	path := "/v2/" + probeimage.Repository + "/manifests/"
	tags := []string{"one", "one", "two", "one"}
	asked := make([]string, 0, len(tags))
	for _, tag := range tags {
		asked = append(asked, k.do(http.MethodHead, path+tag).want(t, http.StatusOK).header.Get(probeimage.AskedHeader))
	}
	if got := strings.Join(asked, " "); got != "0 1 0 2" {
		t.Errorf("asked before: %s", got)
	}
}

// Whatever is answered says whose port this is.
func TestEveryAnswerNamesShoal(t *testing.T) {
	k := newKit(t, nil)
	for path, code := range map[string]int{"/v2/?": http.StatusOK, "/elsewhere?": http.StatusNotFound, "/v2/team/app/manifests/none": http.StatusNotFound} {
		if a := k.do(http.MethodGet, path).want(t, code); a.header.Get("Server") != probeimage.Server {
			t.Errorf("%s: %v", path, a.header)
		}
	}
}
