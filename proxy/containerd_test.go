package proxy

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/upstream"
)

// The table of containerd-facts, section 2: what makes a containerd pull fail, or hang, and
// where it is shown that the proxy never answers so.
//
//	408, 429                            TestManifestErrorPages, TestBlobErrorsBeforeHeaders, TestLists
//	body cut by RST                     TestBlobCutIsFIN
//	clean short body                    TestBlobCutIsFIN, TestBlobOtherAlgorithm, TestBlobWithoutLength
//	206 at a wrong offset               TestBlobRangesProven, TestBlobOtherAlgorithm
//	200 to a concurrent chunk           TestBlobRangesProven (only for what is no range)
//	a stall in the body                 TestFeedDrips
//	headers later than 30 s             TestFeedHeadersAfterTenSeconds, TestHungUpstreamIsQuickEnough
//	HEAD without digest or length,
//	  with a wrong one, without type    TestManifestHeadIsMadeGood
//	manifest and index types swapped    TestManifestOfIndexStartsNothing, TestTypeIsThatOfTheBytes
//	mislabelled Content-Encoding        TestContentEncodingNeverPasses
//	wrong bytes of the right length     TestManifestWrongBytes, TestBlobReadThrough, TestFeedHoldsTheEndBack

// containerd says it takes compressed answers. It must never get one: neither what the
// registry compressed, nor what it only calls compressed.
func TestContentEncodingNeverPasses(t *testing.T) {
	k := newKit(t, nil)
	img := k.registry.push(testRepo, "v1", pattern(1, 5000))
	for _, path := range []string{
		"/manifests/v1", "/manifests/" + img.digest.String(), "/blobs/sha512:" + strings.Repeat("ab", 64), "/tags/list",
	} {
		for _, honest := range []bool{true, false} {
			k.registry.answer(func(w http.ResponseWriter, r *http.Request) bool {
				body := img.manifest
				if honest {
					var packed bytes.Buffer
					zip := gzip.NewWriter(&packed)
					_, _ = zip.Write(img.manifest)
					_ = zip.Close()
					body = packed.Bytes()
				}
				w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
				w.Header().Set("Docker-Content-Digest", img.digest.String())
				w.Header().Set("Content-Encoding", "gzip")
				w.Header().Set("Content-Length", strconv.Itoa(len(body)))
				if r.Method == http.MethodGet {
					_, _ = w.Write(body)
				}
				return true
			})
			for _, method := range []string{"HEAD", "GET"} {
				a := k.do(method, "/v2/"+testRepo+path, "Accept-Encoding", "zstd, gzip, deflate")
				if a.header.Get("Content-Encoding") != "" || a.code != 503 && a.code != 200 {
					t.Errorf("%s %s (honest %v): %d %v", method, path, honest, a.code, a.header)
				}
			}
		}
	}
}

// A registry that gives a manifest under the type of an index does not get the store's copy called so.
func TestTypeIsThatOfTheBytes(t *testing.T) {
	k := newKit(t, nil)
	img := k.registry.push(testRepo, "v1", pattern(1, 5000))
	k.manifest("GET", "v1").want(t, 200)
	k.registry.answer(manifestAnswer(img.manifest, func(h http.Header) {
		h.Set("Content-Type", "application/vnd.oci.image.index.v1+json")
		h.Set("Content-Length", "17")
	}))
	k.manifest("HEAD", "v1").wantManifest(t, img.digest, len(img.manifest))
	k.manifest("GET", "v1").wantManifest(t, img.digest, len(img.manifest)).wantBytes(t, img.manifest)
}

// hungUpstream takes every request and answers none.
type hungUpstream struct{ directUpstream }

func (*hungUpstream) Forward(ctx context.Context, _ upstream.Request) (*http.Response, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// slowMembers know nothing, and take their time to say so.
type slowMembers struct{}

func (slowMembers) Resolve(ctx context.Context, _ upstream.Repository, _ upstream.Reference) ([]Answer, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// Whatever hangs upstream, an answer comes before a client gives up waiting for one (30 s).
func TestHungUpstreamIsQuickEnough(t *testing.T) {
	for _, path := range []string{"manifests/v1", "manifests/" + someDigest, "blobs/" + someDigest, "tags/list", "referrers/" + someDigest} {
		for _, method := range []string{"HEAD", "GET"} {
			synctest.Test(t, func(t *testing.T) {
				p, err := New(Config{}, Deps{
					Upstream: &hungUpstream{}, Members: slowMembers{}, Blobs: newBlobs(t),
					Store: &memStore{held: map[blob.Digest][]byte{}}, Log: slog.New(slog.DiscardHandler),
				})
				if err != nil {
					t.Fatal(err)
				}
				for _, limit := range []time.Duration{13 * time.Second, 3 * time.Second} { // the second time it is known to be down
					r := httptest.NewRequestWithContext(t.Context(), method, "/v2/o/r/"+path+"?ns=reg.example", nil)
					r.Host = "localhost"
					w := httptest.NewRecorder()
					began := time.Now()
					p.ServeHTTP(w, r)
					if took := time.Since(began); w.Code != 503 || took > limit {
						t.Errorf("%s %s: %d after %v", method, path, w.Code, took)
					}
				}
			})
		}
	}
}

// Many clients at once want the same blob, and others: nobody gets another's bytes.
func TestManyClients(t *testing.T) {
	k := newKit(t, nil)
	layers := make([][]byte, 8)
	for i := range layers {
		layers[i] = pattern(byte(i), 400_000+i)
	}
	img := k.registry.push(testRepo, "v1", layers...)
	k.manifest("GET", img.digest.String()).want(t, 200)
	var running sync.WaitGroup
	errs := make(chan error, 64)
	for i := range 64 {
		running.Go(func() {
			layer := layers[i%len(layers)]
			if i%2 == 0 {
				k.blobs.hold(layer)
			}
			a := k.blob("GET", digestOf(layer), "Range", fmt.Sprintf("bytes=%d-", i*1000))
			if a.code != 206 || !bytes.Equal(a.body, layer[i*1000:]) {
				errs <- fmt.Errorf("client %d: %d, %d bytes, %w", i, a.code, len(a.body), a.err)
			}
		})
	}
	for _, layer := range layers { // the odd ones wait for this
		k.blobs.hold(layer)
	}
	running.Wait()
	close(errs)
	for err := range errs {
		t.Error(err)
	}
	k.eventually(func() bool { return k.blobs.openBodies() == 0 })
	if got := k.blobs.snapshot(); len(got) != 64 || got[0].Image != img.digest || got[0].Size < blob.ByteCount(400_000) {
		t.Errorf("opened %d", len(got))
	}
}
