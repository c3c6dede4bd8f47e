package proxy

import (
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shoal-project/shoal/pkg/blob"
)

// A slowStore takes a second over what it holds, and nothing over what it does not.
type slowStore struct{ *memStore }

func (s slowStore) Bytes(d blob.Digest, limit blob.ByteCount) ([]byte, error) {
	p, err := s.memStore.Bytes(d, limit)
	if err == nil {
		<-time.After(time.Second)
	}
	return p, err
}

func (s slowStore) Size(d blob.Digest) (blob.ByteCount, error) {
	n, err := s.memStore.Size(d)
	if err == nil {
		<-time.After(time.Second)
	}
	return n, err
}

// How long a stranger waits for a refusal is the same to the nanosecond whether the image is here or not, on a
// clock that stands still but for what the store, the registry and members take.
func TestStrangersWaitTheSame(t *testing.T) {
	for _, status := range []int{401, 403, 404, 405, 429, 503} {
		var waits [2][]string
		for i, cached := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				k := newPipedKit(t, nil)
				k.proxy.deps.Store = slowStore{k.store}
				members := &fakeMembers{}
				k.proxy.deps.Members = members
				img := k.registry.push(testRepo, "v1", pattern(1, 5000))
				layer := digestOf(img.layers[0])
				if cached {
					k.manifest("GET", "v1", as("owner")...).want(t, 200)
					k.blobs.hold(img.layers[0])
					if err := k.store.PutBytes(layer, img.layers[0]); err != nil {
						t.Fatal(err)
					}
					members.said = []Answer{{Digest: img.digest, Manifest: img.manifest}}
					began := time.Now()
					k.manifest("GET", img.digest.String(), as("owner")...).want(t, 200)
					if time.Since(began) < time.Second {
						t.Error("who may have it does not wait for the store: the test shows nothing")
					}
				}
				k.registry.answer(func(w http.ResponseWriter, _ *http.Request) bool {
					<-time.After(20 * time.Millisecond)
					w.WriteHeader(status)
					return true
				})
				for _, who := range [][]string{nil, as("stranger")} {
					for _, path := range []string{"/manifests/v1", "/manifests/" + img.digest.String(), "/blobs/" + layer.String()} {
						for _, method := range []string{"HEAD", "GET"} {
							<-time.After(time.Minute) // nothing is remembered of the last one
							began := time.Now()
							a := k.do(method, "/v2/"+testRepo+path, who...)
							waits[i] = append(waits[i], fmt.Sprint(method, " ", path, " ", who, ": ", a.code, " after ", time.Since(began)))
						}
					}
				}
			})
		}
		for i, without := range waits[0] {
			if waits[1][i] != without {
				t.Errorf("with nothing here:\n\t%s\nwith the image here:\n\t%s", without, waits[1][i])
			}
		}
	}
}
