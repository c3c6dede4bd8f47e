package proxy

import (
	"bytes"
	"net/http"
	"strconv"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/shoal-project/shoal/pkg/probeimage"
	"github.com/shoal-project/shoal/pkg/upstream"
)

// probeTags bounds the tags whose pulls are remembered; a check uses one, once.
const probeTags = 256

// A probeDesk hands out the probe image, whichever registry it is asked of, and counts who
// comes for it. It is safe for concurrent use. The image is everybody's: no credential is
// looked at, and no upstream is asked.
type probeDesk struct {
	image *probeimage.Image
	mu    sync.Mutex // of read-modify-write
	asked *lru.Cache[string, int]
}

func newProbeDesk() (*probeDesk, error) {
	image, err := probeimage.New()
	if err != nil {
		return nil, err
	}
	asked, err := lru.New[string, int](probeTags)
	if err != nil {
		return nil, err
	}
	return &probeDesk{image: image, asked: asked}, nil
}

// isProbe reports whether the repository is the probe's: that of a registry, or the one that
// its name is by itself.
func isProbe(repo upstream.Repository) bool {
	return repo.Name == probeimage.Repository || repo.String() == probeimage.Repository
}

// count notes one more request for the tag, and returns how many there were before.
func (d *probeDesk) count(tag string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	before, _ := d.asked.Get(tag)
	d.asked.Add(tag, before+1)
	return before
}

// serve answers HEAD and GET of the image's manifests and blobs.
func (d *probeDesk) serve(w http.ResponseWriter, r *http.Request, target route) (Outcome, error) {
	var content probeimage.Content
	found := false
	switch {
	case target.kind == KindManifest && target.ref.IsTag():
		w.Header().Set(probeimage.AskedHeader, strconv.Itoa(d.count(target.ref.String())))
		content, found = d.image.Index(), true
	case target.kind == KindManifest:
		content, found = d.image.Manifest(target.digest)
	case target.kind == KindBlob:
		content, found = d.image.Blob(target.digest)
		content.MediaType = octetStream
	}
	if !found {
		fail := notFound("MANIFEST_UNKNOWN", "The probe image holds no such thing.")
		return fail.Outcome, fail
	}
	h := w.Header()
	h.Set("Content-Type", content.MediaType)
	h.Set("Docker-Content-Digest", content.Digest.String())
	h.Set("ETag", `"`+content.Digest.String()+`"`)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content.Bytes))
	return OutcomeServed, nil
}
