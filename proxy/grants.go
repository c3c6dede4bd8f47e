package proxy

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/upstream"
)

// A credID stands for an Authorization header: its HMAC under a key of this process, so
// that no table of the proxy holds a token. The absent header has one too.
type credID [sha256.Size]byte

// A grantKey is for KindManifest or KindBlob. Who may have a manifest may have the blobs that it
// names; who may have a blob may have other blobs, but there are registries that guard only
// their manifests.
type grantKey struct {
	repo upstream.Repository
	cred credID
	kind Kind
}

// grants remembers which credential upstream accepted for which repository, and when
// (design, P4). A repository is public when the credential was none.
// Safe for concurrent use; bounded.
type grants struct {
	key    [32]byte
	config Config
	anon   credID

	accepted *lru.Cache[grantKey, time.Time]
	// open is when upstream last let a stranger in: this node's own probe (anonymous.go), or
	// what an earlier life of it saw. It counts only while upstream is out of reach.
	open *lru.Cache[upstream.Repository, time.Time]
	// told is when members said of a repository that it is public. It counts only while
	// upstream is out of reach, and is never passed on.
	told *lru.Cache[upstream.Repository, time.Time]
}

func newGrants(c Config) (*grants, error) {
	g := &grants{config: c}
	if _, err := rand.Read(g.key[:]); err != nil {
		return nil, err
	}
	g.anon = g.id("")
	var err error
	if g.accepted, err = lru.New[grantKey, time.Time](c.MaxGrants); err != nil {
		return nil, err
	}
	if g.open, err = lru.New[upstream.Repository, time.Time](c.MaxGrants); err != nil {
		return nil, err
	}
	g.told, err = lru.New[upstream.Repository, time.Time](c.MaxGrants)
	return g, err
}

// id is what stands for an Authorization header; "" for none.
func (g *grants) id(authorization string) credID {
	mac := hmac.New(sha256.New, g.key[:])
	mac.Write([]byte(authorization))
	return credID(mac.Sum(nil))
}

// accept notes that upstream answered a request for content of this kind with cred by success.
func (g *grants) accept(repo upstream.Repository, cred credID, kind Kind) {
	g.accepted.Add(grantKey{repo, cred, kind}, time.Now())
}

// revoke notes that upstream answered 401 or 403. To a request without a credential that does
// not say that the repository is not public: its registry may want a token from everybody.
func (g *grants) revoke(repo upstream.Repository, cred credID) {
	g.accepted.Remove(grantKey{repo, cred, KindManifest})
	g.accepted.Remove(grantKey{repo, cred, KindBlob})
	if cred == g.anon {
		g.told.Remove(repo)
	}
}

// hide notes that upstream answered 404 for what it showed before. It may be gone, or hidden
// from cred, as registries do that tell nobody what they refuse: the next answer will say.
func (g *grants) hide(repo upstream.Repository, cred credID) {
	g.revoke(repo, cred)
	if cred == g.anon {
		g.keepOut(repo)
	}
}

// fresh reports whether upstream accepted cred for content of this kind just now.
func (g *grants) fresh(repo upstream.Repository, cred credID, kind Kind) bool {
	return g.within(repo, cred, kind, g.config.GrantTTL)
}

// lately reports whether cred may have content of this kind while upstream cannot be asked: it
// was accepted within AuthStale, or anybody may.
func (g *grants) lately(repo upstream.Repository, cred credID, kind Kind) bool {
	if cred != g.anon && g.within(repo, cred, kind, g.config.AuthStale) {
		return true
	}
	if g.public(repo) {
		return true
	}
	at, ok := g.told.Get(repo)
	return ok && time.Since(at) < g.config.GrantTTL
}

// public reports whether upstream let anybody have content of repo within StalePublic.
func (g *grants) public(repo upstream.Repository) bool {
	return time.Since(g.publicAt(repo)) < g.config.StalePublic
}

// publicAt is when upstream last let anybody have content of repo; zero for never.
func (g *grants) publicAt(repo upstream.Repository) time.Time {
	at, _ := g.accepted.Get(grantKey{repo, g.anon, KindManifest})
	if open, ok := g.open.Get(repo); ok && open.After(at) {
		return open
	}
	return at
}

// letIn notes that upstream let a stranger have content of repo at that time.
func (g *grants) letIn(repo upstream.Repository, at time.Time) {
	if !at.After(time.Now()) && at.After(g.publicAt(repo)) {
		g.open.Add(repo, at)
	}
}

// keepOut notes that upstream does not let strangers have content of repo.
func (g *grants) keepOut(repo upstream.Repository) { g.open.Remove(repo) }

// toldPublic notes that most members call repo public.
func (g *grants) toldPublic(repo upstream.Repository) { g.told.Add(repo, time.Now()) }

func (g *grants) within(repo upstream.Repository, cred credID, kind Kind, ttl time.Duration) bool {
	at, ok := g.accepted.Get(grantKey{repo, cred, KindManifest})
	if ok && time.Since(at) < ttl {
		return true
	}
	at, ok = g.accepted.Get(grantKey{repo, cred, kind})
	return ok && time.Since(at) < ttl
}

// A name is what is known of one digest in one repository.
type name struct {
	Size blob.ByteCount // -1 when it is not known
	// Image is the manifest that names the blob; zero for a manifest, or when it is not known.
	Image blob.Digest
	// Upstream says that upstream showed the digest to belong to the repository: it answered
	// for it, or for a manifest that names it. Otherwise members said so, and it counts only
	// while upstream is out of reach.
	Upstream bool
}

type nameKey struct {
	repo   upstream.Repository
	digest blob.Digest
}

// names remembers which digests belong to which repository. Without it a grant for one
// repository would open every other's content to whoever knows a digest.
// Safe for concurrent use; bounded.
type names struct {
	mu    sync.Mutex
	known *lru.Cache[nameKey, name]
}

func newNames(c Config) (*names, error) {
	known, err := lru.New[nameKey, name](c.MaxNamed)
	if err != nil {
		return nil, err
	}
	return &names{known: known}, nil
}

// learn adds what is known of d in repo. What upstream showed is not replaced by what
// members said, nor a known size or image by none.
func (n *names) learn(repo upstream.Repository, d blob.Digest, as name) {
	n.mu.Lock()
	defer n.mu.Unlock()
	key := nameKey{repo, d}
	if old, ok := n.known.Get(key); ok {
		if old.Upstream && !as.Upstream {
			return
		}
		if old.Upstream == as.Upstream {
			if as.Size < 0 {
				as.Size = old.Size
			}
			if as.Image.IsZero() {
				as.Image = old.Image
			}
		}
	}
	n.known.Add(key, as)
}

// lookup returns what is known of d in repo. With trusted, only what upstream showed counts.
func (n *names) lookup(repo upstream.Repository, d blob.Digest, trusted bool) (name, bool) {
	found, ok := n.known.Get(nameKey{repo, d})
	if !ok || trusted && !found.Upstream {
		return name{Size: -1}, false
	}
	return found, true
}
