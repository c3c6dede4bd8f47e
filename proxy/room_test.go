package proxy

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/shoal-project/shoal/pkg/blob"
)

// open asks the proxy, fails unless the answer is 200, and leaves its body unread until the client leaves.
func (k *kit) open(path string) (leave func()) {
	k.t.Helper()
	r, err := http.NewRequestWithContext(k.t.Context(), "GET", k.server.URL+"/v2/"+testRepo+path+"?ns=reg.example%3A5000", nil)
	if err != nil {
		k.t.Fatal(err)
	}
	res, err := k.client.Do(r)
	if err != nil {
		k.t.Fatal(err)
	}
	leave = func() { _ = res.Body.Close() }
	k.t.Cleanup(leave)
	if res.StatusCode != http.StatusOK {
		k.t.Fatalf("%s: %d", path, res.StatusCode)
	}
	return leave
}

// However many clients ask for long answers and do not read them, what these take is bounded, and so is for how long.
// Short ones go on meanwhile.
func TestLongAnswersShareTheirMemory(t *testing.T) {
	list := make([]byte, maxList)
	for _, announced := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			k := newPipedKit(t, func(c *Config, _ *Deps) { c.MaxBuffered = 2 * maxList })
			img := k.registry.push(testRepo, "v1", pattern(1, 5000))
			long := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"annotations":{"a":%q},"config":{"mediaType":"x/y","digest":%q,"size":%d},"layers":[]}`,
				ocispec.MediaTypeImageManifest, strings.Repeat("a", 2*int(smallAnswer)), digestOf(img.config), len(img.config))
			k.registry.put("/v2/"+testRepo+"/manifests/long", ocispec.MediaTypeImageManifest, long)
			k.manifest("GET", "long").want(t, 200).wantBytes(t, long) // now the store has it
			k.registry.answer(func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.HasSuffix(r.URL.Path, "/tags/list") {
					return false
				}
				if announced {
					w.Header().Set("Content-Length", strconv.Itoa(len(list)))
				}
				_, _ = w.Write(list)
				return true
			})
			leave := k.open("/tags/list")
			k.open("/tags/list")
			for _, path := range []string{"/tags/list", "/manifests/long", "/manifests/" + digestOf(long).String()} {
				began := time.Now()
				a := k.do("GET", "/v2/"+testRepo+path).want(t, 503)
				if took := time.Since(began); !strings.Contains(string(a.body), "as many long answers") || took > 3*roomWait {
					t.Errorf("%s: after %v, %s", path, took, a.body)
				}
			}
			k.manifest("GET", "v1").want(t, 200).wantBytes(t, img.manifest)
			leave()
			k.manifest("GET", "long").want(t, 200).wantBytes(t, long)
			k.do("GET", "/v2/"+testRepo+"/tags/list").want(t, 200).wantBytes(t, list)
			<-time.After(wholeWait)
			k.open("/tags/list")
			k.do("GET", "/v2/"+testRepo+"/tags/list").want(t, 200).wantBytes(t, list) // who did not read was cut
		})
	}
}

// A list that is too long is refused with what to do about it.
func TestListTooLong(t *testing.T) {
	k := newKit(t, nil)
	for _, announced := range []bool{true, false} {
		k.registry.answer(func(w http.ResponseWriter, _ *http.Request) bool {
			if announced {
				w.Header().Set("Content-Length", strconv.Itoa(int(maxList)+1))
			}
			_, _ = w.Write(make([]byte, maxList+1))
			return true
		})
		for _, path := range []string{"/tags/list", "/referrers/" + someDigest} {
			if a := k.do("GET", "/v2/"+testRepo+path).want(t, 503); !strings.Contains(string(a.body), "in pages (?n=1000)") {
				t.Errorf("%s: %s", path, a.body)
			}
		}
	}
}

// An Upstream's own limit is not the only one.
func TestShareReadsNoMoreThanItMay(t *testing.T) {
	k := newKit(t, nil)
	for _, c := range []struct{ sent, said, limit, want blob.ByteCount }{
		{0, 0, 10, 0},
		{10, -1, 10, 10},
		{11, -1, 10, -1},
		{11, 11, 10, -1},
		{smallAnswer + 1, -1, 2 * smallAnswer, smallAnswer + 1},
		{2 * smallAnswer, 2 * smallAnswer, 2 * smallAnswer, 2 * smallAnswer},
		{2*smallAnswer + 1, -1, 2 * smallAnswer, -1},
		{2 * smallAnswer, smallAnswer + 1, 2 * smallAnswer, -1},
	} {
		s := share{room: k.proxy.room}
		got, err := s.readAll(t.Context(), strings.NewReader(strings.Repeat("a", int(c.sent))), c.said, c.limit)
		s.release()
		if (err == nil) != (c.want >= 0) || err == nil && len(got) != int(c.want) || err != nil && !misanswered(err) {
			t.Errorf("%+v: %d bytes, %v", c, len(got), err)
		}
	}
	if !k.proxy.room.TryAcquire(int64(Config{}.withDefaults().MaxBuffered)) {
		t.Error("not everything was given back")
	}
}
