package proxy

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/upstream"
)

type tagKey struct {
	repo upstream.Repository
	name string
}

// A known is what upstream said last about a tag.
type known struct {
	Digest    blob.Digest
	MediaType string
	Seen      time.Time
}

// A tagBook remembers the last known digest of tags. Safe for concurrent use; bounded.
type tagBook struct {
	last  *lru.Cache[tagKey, known]
	dirty atomic.Bool
	// saving makes sure that one goroutine saves at a time.
	saving sync.Mutex
}

func newTagBook(c Config) (*tagBook, error) {
	last, err := lru.New[tagKey, known](c.MaxTags)
	if err != nil {
		return nil, err
	}
	return &tagBook{last: last}, nil
}

// learn notes what upstream said about a tag just now.
func (b *tagBook) learn(repo upstream.Repository, tag string, k known) {
	k.Seen = time.Now()
	b.last.Add(tagKey{repo, tag}, k)
	b.dirty.Store(true)
}

// forget notes that upstream says there is no such tag.
func (b *tagBook) forget(repo upstream.Repository, tag string) {
	if b.last.Remove(tagKey{repo, tag}) {
		b.dirty.Store(true)
	}
}

// lookup returns what upstream said last about a tag.
func (b *tagBook) lookup(repo upstream.Repository, tag string) (known, bool) {
	return b.last.Get(tagKey{repo, tag})
}

// load takes over what was saved, oldest first.
func (p *Proxy) loadTags() {
	if p.deps.Tags == nil {
		return
	}
	saved, err := p.deps.Tags.Load()
	if err != nil {
		p.log.Warn("last known tags are lost", slog.Any("error", err))
		return
	}
	for _, t := range saved {
		p.tags.last.Add(tagKey{t.Repository, t.Name}, known{Digest: t.Digest, MediaType: t.MediaType, Seen: t.Seen})
		p.grants.letIn(t.Repository, t.Public)
	}
}

// saveTags hands the tags to Deps.Tags if any changed.
func (p *Proxy) saveTags() {
	if p.deps.Tags == nil {
		return
	}
	p.tags.saving.Lock()
	defer p.tags.saving.Unlock()
	if !p.tags.dirty.Swap(false) {
		return
	}
	keys := p.tags.last.Keys() // oldest first
	out := make([]Tag, 0, len(keys))
	for _, key := range keys {
		if k, ok := p.tags.last.Peek(key); ok {
			tag := Tag{Repository: key.repo, Name: key.name, Digest: k.Digest, MediaType: k.MediaType, Seen: k.Seen}
			if !p.deps.Upstream.ShowsCertificate(key.repo.Registry) { // it may be switched off by the time of Load
				tag.Public = p.grants.publicAt(key.repo)
			}
			out = append(out, tag)
		}
	}
	if err := p.deps.Tags.Save(out); err != nil {
		p.tags.dirty.Store(true)
		p.log.Warn("last known tags could not be saved", slog.Any("error", err))
	}
}
