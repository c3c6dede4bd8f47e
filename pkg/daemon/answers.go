package daemon

import (
	"context"
	"crypto/sha256"
	"math/rand/v2"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/shoal-project/shoal/p2p/discovery"
	"github.com/shoal-project/shoal/p2p/resolve"
	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/upstream"
	"github.com/shoal-project/shoal/proxy"
)

const (
	// askedByKey and askedAtRandom bound the members asked about one tag or digest:
	// those that the DHT names, and some that are connected anyway, which in a small
	// swarm are all of it.
	askedByKey    = 24
	askedAtRandom = 24
	// keyWait is how long the DHT may take to name members.
	keyWait = 500 * time.Millisecond
	// tagFresh is how long ago a tag may have been resolved to be announced.
	tagFresh = time.Hour
)

// Resolve implements proxy.Members: it asks members what a tag or digest means to them.
func (s *swarm) Resolve(ctx context.Context, repo upstream.Repository, ref upstream.Reference) ([]proxy.Answer, error) {
	key, byDigest := ref.Digest()
	if !byDigest {
		key = tagKey(repo, ref.String())
	}
	question := resolve.Question{Registry: repo.Registry, Repository: repo.Name, Reference: ref.String()}
	var answers []proxy.Answer
	for reply := range s.resolve.AskMany(ctx, s.whoMayKnow(ctx, key), question) {
		if reply.Err != nil || !reply.Answer.Found {
			continue
		}
		answers = append(answers, proxy.Answer{
			Digest: reply.Answer.Digest, MediaType: reply.Answer.MediaType, Manifest: reply.Answer.Manifest,
			Public: reply.Answer.Public, Age: reply.Answer.Age,
		})
		if byDigest && len(reply.Answer.Manifest) > 0 {
			break // its bytes speak for themselves
		}
	}
	return answers, nil
}

// whoMayKnow lists members that announced the key, and others that are connected.
func (s *swarm) whoMayKnow(ctx context.Context, key blob.Digest) []peer.ID {
	ctx, cancel := context.WithTimeout(ctx, keyWait)
	defer cancel()
	var ask []peer.ID
	seen := map[peer.ID]bool{s.id(): true}
	add := func(p peer.ID) {
		if !seen[p] {
			seen[p] = true
			ask = append(ask, p)
		}
	}
	for found := range s.discovery.Find(ctx, key, askedByKey) {
		add(found.ID)
	}
	members := s.host.Members()
	order := rand.Perm(len(members)) //nolint:forbidigo // whom to ask needs no seed
	for _, i := range order[:min(len(order), askedAtRandom)] {
		add(members[i].ID)
	}
	return ask
}

// tagKey is what the DHT knows a tag by. It does not show the name to who does not know it.
func tagKey(repo upstream.Repository, tag string) blob.Digest {
	return sha256.Sum256([]byte("shoal/tag/1\x00" + repo.String() + "\x00" + tag))
}

// answerer answers what other members ask. It tells only what upstream told this node.
type answerer struct{ proxy *proxy.Proxy }

// Resolve implements resolve.Handler.
func (a answerer) Resolve(_ context.Context, _ peer.ID, q resolve.Question) (resolve.Answer, error) {
	repo, err := upstream.ParseRepository(q.Registry, q.Repository)
	if err != nil {
		return resolve.Answer{}, err
	}
	ref, err := upstream.ParseReference(q.Reference)
	if err != nil {
		return resolve.Answer{}, err
	}
	known, ok := a.proxy.Lookup(repo, ref)
	if !ok {
		return resolve.Answer{}, nil
	}
	return resolve.Answer{
		Found: true, Digest: known.Digest, MediaType: known.MediaType, Manifest: known.Manifest,
		Public: known.Public, Age: known.Age,
	}, nil
}

// announcedTags saves tags and announces those that this node resolved lately, so that
// members find who can answer when the registry cannot.
type announcedTags struct {
	proxy.Tags
	discovery *discovery.Discovery
}

// Save implements proxy.Tags.
func (t announcedTags) Save(tags []proxy.Tag) error {
	for _, tag := range tags {
		key := tagKey(tag.Repository, tag.Name)
		if time.Since(tag.Seen) < tagFresh {
			t.discovery.Provide(key)
		} else {
			t.discovery.Withdraw(key)
		}
	}
	return t.Tags.Save(tags)
}
