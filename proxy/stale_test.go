package proxy

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/upstream"
)

var repository = upstream.Repository{Registry: testRegistry, Name: testRepo}

// While upstream answers 5xx or not at all, whatever it is asked, a tag is what it was, and says so.
func TestStaleTag(t *testing.T) {
	for _, how := range []string{"500", "503", "unreachable"} {
		t.Run(how, func(t *testing.T) {
			k := newKit(t, nil)
			img := k.registry.push(testRepo, "v1", pattern(1, 5000))
			k.manifest("GET", "v1").want(t, 200)
			k.blobs.hold(img.layers[0])
			var status int
			if _, err := fmt.Sscan(how, &status); err == nil {
				k.registry.status(status)
			} else {
				k.registry.server.Close()
			}
			for _, method := range []string{"HEAD", "GET"} {
				a := k.manifest(method, "v1").wantManifest(t, img.digest, len(img.manifest))
				if got := a.header.Get("Warning"); got != `299 - "Shoal cannot reach reg.example:5000. This is what the tag meant 0s ago."` {
					t.Errorf("Warning %q", got)
				}
			}
			// The rest of the pull needs no upstream, and nothing about it is stale.
			a := k.manifest("GET", img.digest.String()).wantBytes(t, img.manifest)
			if a.header.Get("Warning") != "" {
				t.Error("a digest is called stale")
			}
			k.blob("GET", digestOf(img.layers[0])).want(t, 200).wantBytes(t, img.layers[0])
			k.manifest("GET", "v2").want(t, 503)
			k.blob("GET", digestOf([]byte("unknown"))).want(t, 503)
			if k.outcomes()["manifest stale"] != 2 {
				t.Errorf("counted %v", k.outcomes())
			}
		})
	}
}

// 401, 403 and 404 are upstream's word, and nothing stale is served against it.
func TestStaleNeverAgainstARefusal(t *testing.T) {
	for _, status := range []int{401, 403, 404} {
		members := &fakeMembers{}
		k := newKit(t, func(_ *Config, d *Deps) { d.Members = members })
		img := k.registry.push(testRepo, "v1", pattern(1, 5000))
		members.said = []Answer{{Digest: img.digest, Manifest: img.manifest, Public: true}}
		k.manifest("GET", "v1").want(t, 200)
		k.registry.status(status)
		for _, ref := range []string{"v1", digestOf([]byte("unknown")).String()} {
			k.manifest("HEAD", ref).want(t, status)
			k.manifest("GET", ref).want(t, status)
		}
		k.proxy.grants.letIn(repository, time.Now()) // as if it was public for strangers with a token
		k.registry.answer(func(w http.ResponseWriter, r *http.Request) bool {
			if w.WriteHeader(status); r.Method == http.MethodGet {
				panic(http.ErrAbortHandler) // and upstream goes away before it says why
			}
			return true
		})
		k.manifest("GET", "v1").want(t, status)
	}
}

func TestStaleOff(t *testing.T) {
	k := newKit(t, func(c *Config, _ *Deps) { c.StaleTags = StaleOff })
	img := k.registry.push(testRepo, "v1", pattern(1, 5000))
	k.manifest("GET", "v1").want(t, 200)
	k.registry.status(500)
	k.manifest("GET", "v1").want(t, 503)
	k.manifest("GET", img.digest.String()).want(t, 200)
}

// Who may have it while upstream is away: the credential it accepted lately, anybody where it
// accepted nobody's, and no one else.
func TestStaleCredentials(t *testing.T) {
	k := newKit(t, func(c *Config, _ *Deps) { c.GrantTTL = time.Nanosecond })
	k.registry.push(testRepo, "v1", pattern(1, 5000))
	good := []string{"Authorization", "Basic good"}
	k.manifest("GET", "v1", good...).want(t, 200)
	k.registry.status(500)
	k.manifest("GET", "v1", good...).want(t, 200)
	k.manifest("GET", "v1").want(t, 503)
	k.manifest("GET", "v1", "Authorization", "Basic other").want(t, 503)
	k.registry.answer(nil)
	k.manifest("HEAD", "v1").want(t, 200) // anonymous: it is public
	k.registry.status(500)
	k.manifest("GET", "v1").want(t, 200)
	k.manifest("GET", "v1", "Authorization", "Basic other").want(t, 200)

	off := newKit(t, func(c *Config, _ *Deps) { c.AuthStale, c.StalePublic, c.GrantTTL = -1, -1, time.Nanosecond })
	off.registry.push(testRepo, "v1", pattern(1, 5000))
	off.manifest("GET", "v1", good...).want(t, 200)
	off.manifest("GET", "v1").want(t, 200)
	off.registry.status(500)
	off.manifest("GET", "v1", good...).want(t, 503)
	off.manifest("GET", "v1").want(t, 503)
}

// A node that knows nothing asks the members, and believes most of them.
func TestStaleMembers(t *testing.T) {
	layer := pattern(1, 5000)
	k := newKit(t, nil)
	img := k.registry.push(testRepo, "v1", layer)
	good := Answer{Digest: img.digest, Manifest: img.manifest, Public: true, Age: time.Minute}
	nameless := Answer{Digest: img.digest, Public: true}
	secret := Answer{Digest: img.digest, Manifest: img.manifest}
	other := Answer{Digest: digestOf([]byte("x")), Manifest: []byte("x"), Public: true}
	lie := Answer{Digest: img.digest, Manifest: []byte(`{"schemaVersion":2}`), Public: true}
	for what, c := range map[string]struct {
		said []Answer
		mode StaleTags
		want int
	}{
		"nobody":             {nil, "", 503},
		"one":                {[]Answer{good}, "", 200},
		"most":               {[]Answer{other, good, nameless}, "", 200},
		"tie":                {[]Answer{other, good}, "", 503},
		"tie, reversed":      {[]Answer{good, other}, "", 503},
		"outvoted":           {[]Answer{other, good, other}, "", 503},
		"no bytes":           {[]Answer{nameless, nameless}, "", 503},
		"wrong bytes":        {[]Answer{lie, nameless}, "", 503},
		"right among wrong":  {[]Answer{lie, good}, "", 200},
		"private":            {[]Answer{secret, secret, good}, "", 503},
		"most say public":    {[]Answer{secret, good, good}, "", 200},
		"half say public":    {[]Answer{secret, good}, "", 503},
		"a digest of nobody": {[]Answer{{Manifest: img.manifest, Public: true}}, "", 503},
		"local only":         {[]Answer{good}, StaleLocal, 503},
		"off":                {[]Answer{good}, StaleOff, 503},
	} {
		t.Run(what, func(t *testing.T) {
			members := &fakeMembers{said: c.said}
			k := newKit(t, func(config *Config, d *Deps) { config.StaleTags, d.Members = c.mode, members })
			k.blobs.hold(layer)
			k.registry.status(500)
			a := k.manifest("GET", "v1").want(t, c.want)
			if c.want != 200 {
				if k.store.has(img.digest) || len(k.blobs.startedBlobs()) != 0 {
					t.Error("something was kept or started")
				}
				return
			}
			a.wantManifest(t, img.digest, len(img.manifest)).wantBytes(t, img.manifest)
			if a.header.Get("Warning") == "" {
				t.Error("no Warning")
			}
			k.blob("GET", digestOf(layer)).want(t, 200).wantBytes(t, layer)
			// What members said is forgotten as soon as upstream has a word again.
			k.registry.status(403)
			k.blob("GET", digestOf(layer)).want(t, 403)
			if _, ok := k.proxy.Lookup(repository, upstream.DigestReference(img.digest)); ok {
				t.Error("members' word is passed on")
			}
		})
	}
}

// Manifests by digest come from members as long as upstream lets the client have them.
func TestMembersDeliverManifests(t *testing.T) {
	members := &fakeMembers{}
	k := newKit(t, func(_ *Config, d *Deps) { d.Members = members })
	img := k.registry.push(testRepo, "v1", pattern(1, 5000))
	members.said = []Answer{
		{Digest: img.digest, Manifest: []byte("wrong")},
		{Digest: img.digest, Manifest: img.manifest},
	}
	k.manifest("GET", img.digest.String()).wantManifest(t, img.digest, len(img.manifest)).wantBytes(t, img.manifest)
	if got := k.registry.asked(""); len(got) != 1 || !strings.HasPrefix(got[0], "HEAD") {
		t.Errorf("upstream was asked %v, want one HEAD", got)
	}
	if !k.store.has(img.digest) || len(k.blobs.startedBlobs()) != 2 {
		t.Error("not kept, or not started")
	}
	k.registry.bearer(nil)
	k.manifest("GET", img.digest.String(), "Authorization", "Basic x").want(t, 401)
}

// While upstream is away, how fast a stranger is refused does not tell what members have: those who know
// answer at once, and whoever may not have it waits as if nobody did.
func TestRefusalsTakeTheirTime(t *testing.T) {
	const wait = 200 * time.Millisecond
	members := &fakeMembers{}
	k := newKit(t, func(c *Config, d *Deps) { c.MembersTimeout, d.Members = wait, members })
	img := k.registry.push(testRepo, "v1", pattern(1, 5000))
	members.said = []Answer{{Digest: img.digest, Manifest: img.manifest}}
	k.registry.status(502)
	for _, ref := range []string{"v1", img.digest.String()} {
		for _, method := range []string{"HEAD", "GET"} {
			began := time.Now()
			k.manifest(method, ref, "Authorization", "Basic stranger").want(t, 503)
			if took := time.Since(began); took < wait {
				t.Errorf("%s %s was refused after %v", method, ref, took)
			}
		}
	}
}

// With upstream away and only a member's word that the repository is public, a digest is served too.
func TestStaleDigestFromMembers(t *testing.T) {
	for public, want := range map[bool]int{true: 200, false: 503} {
		members := &fakeMembers{}
		k := newKit(t, func(_ *Config, d *Deps) { d.Members = members })
		img := k.registry.push(testRepo, "v1", pattern(1, 5000))
		members.said = []Answer{{Digest: img.digest, Manifest: img.manifest, Public: public}}
		k.registry.status(502)
		k.manifest("GET", img.digest.String()).want(t, want)
		k.manifest("HEAD", img.digest.String()).want(t, want)
	}
}

// What this node says to members is what upstream told it.
func TestLookup(t *testing.T) {
	k := newKit(t, nil)
	img := k.registry.push(testRepo, "v1", pattern(1, 5000))
	tag, err := upstream.ParseReference("v1")
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := k.proxy.Lookup(repository, tag); ok {
		t.Error("an answer from nowhere")
	}
	k.manifest("GET", "v1", "Authorization", "Basic x").want(t, 200)
	for _, ref := range []upstream.Reference{tag, upstream.DigestReference(img.digest)} {
		got, ok := k.proxy.Lookup(repository, ref)
		if !ok || got.Digest != img.digest || string(got.Manifest) != string(img.manifest) || got.Public {
			t.Errorf("%s: %+v, %v", ref, got, ok)
		}
	}
	k.manifest("HEAD", "v1").want(t, 200)
	if got, _ := k.proxy.Lookup(repository, tag); !got.Public {
		t.Error("an anonymous request was accepted, and the repository is not public")
	}
	other := upstream.Repository{Registry: testRegistry, Name: "other/app"}
	if _, ok := k.proxy.Lookup(other, upstream.DigestReference(img.digest)); ok {
		t.Error("a digest is known in a repository it was never seen in")
	}
	k.registry.status(404)
	k.manifest("HEAD", "v1").want(t, 404)
	if _, ok := k.proxy.Lookup(repository, tag); ok {
		t.Error("a tag that is gone is still known")
	}
}

// An identified Upstream shows a certificate of the node's own.
type identified struct{ Upstream }

func (identified) ShowsCertificate(string) bool { return true }

// What this node's own certificate opens is public to nobody else: not in the word to members, and
// not after a restart without it.
func TestOwnCertificateMakesNothingPublic(t *testing.T) {
	file := TagFile(filepath.Join(t.TempDir(), "tags.json"))
	k := newKit(t, func(_ *Config, d *Deps) { d.Upstream, d.Tags = identified{d.Upstream}, file })
	img := k.registry.push(testRepo, "v1", pattern(1, 5000))
	k.manifest("GET", "v1").want(t, 200)
	if said, ok := k.proxy.Lookup(repository, upstream.DigestReference(img.digest)); !ok || said.Public {
		t.Errorf("told to members: %+v, %v", said, ok)
	}
	k.proxy.saveTags()
	saved, err := file.Load()
	if err != nil || len(saved) != 1 || !saved[0].Public.IsZero() {
		t.Errorf("saved %+v, %v", saved, err)
	}
	k.registry.status(503) // but here it is as before
	k.manifest("GET", "v1").want(t, 200)
}

// Last known tags outlive the process, and so does that a repository is public.
func TestTagsOutliveTheProcess(t *testing.T) {
	file := TagFile(filepath.Join(t.TempDir(), "tags.json"))
	keep := func(_ *Config, d *Deps) { d.Tags = file }
	first := newKit(t, keep)
	img := first.registry.push(testRepo, "v1", pattern(1, 5000))
	first.manifest("GET", "v1").want(t, 200)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := first.proxy.Run(ctx); err != nil {
		t.Fatal(err)
	}

	second := newKit(t, keep)
	second.registry.status(503)
	if err := second.store.PutBytes(img.digest, img.manifest); err != nil {
		t.Fatal(err)
	}
	second.manifest("GET", "v1").wantManifest(t, img.digest, len(img.manifest))
	second.manifest("GET", img.digest.String()).want(t, 200)
}

func TestTagFileBroken(t *testing.T) {
	dir := t.TempDir()
	if got, err := TagFile(filepath.Join(dir, "none")).Load(); err != nil || got != nil {
		t.Errorf("no file: %v, %v", got, err)
	}
	if _, err := TagFile(dir).Load(); err == nil {
		t.Error("a folder loads")
	}
	if err := TagFile(filepath.Join(dir, "no", "such")).Save(nil); err == nil {
		t.Error("saved into a folder that is not there")
	}
	// Tags that cannot be loaded or saved are no reason not to serve.
	k := newKit(t, func(_ *Config, d *Deps) { d.Tags = TagFile(dir) })
	k.registry.push(testRepo, "v1", pattern(1, 50))
	k.manifest("HEAD", "v1").want(t, 200)
	k.proxy.saveTags()
}

// An upstream that hangs costs its time-out once, not for every request.
func TestUpstreamHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newPipedKit(t, func(c *Config, _ *Deps) { c.DownFor, c.GrantTTL = time.Hour, time.Nanosecond })
		img := k.registry.push(testRepo, "v1", pattern(1, 5000))
		k.manifest("GET", "v1").want(t, 200)
		k.registry.asked("")
		k.registry.answer(func(_ http.ResponseWriter, r *http.Request) bool {
			<-r.Context().Done()
			return true
		})
		began := time.Now()
		for range 5 {
			k.manifest("HEAD", "v1").wantManifest(t, img.digest, len(img.manifest))
		}
		k.manifest("GET", "other").want(t, 503)
		k.blob("GET", blob.Digest{1}).want(t, 503)
		if got := k.registry.asked(""); !slices.Equal(got, []string{"HEAD /v2/team/app/manifests/v1", "GET /v2/"}) {
			t.Errorf("upstream was asked %v", got)
		}
		if took, once := time.Since(began), k.proxy.config.UpstreamTimeout; took != once {
			t.Errorf("all of them took %v, want %v, once", took, once)
		}
	})
}
