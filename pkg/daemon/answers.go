package daemon

import (
	"context"
	"crypto/sha256"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/shoal-project/shoal/p2p/discovery"
	"github.com/shoal-project/shoal/p2p/resolve"
	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/upstream"
	"github.com/shoal-project/shoal/proxy"
)

const (
	// askedAtRandom and askedByKey bound the members asked about one tag or digest: some
	// that are connected anyway and, where they know nothing, those that the DHT names.
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
	connected := s.someMembers()
	answers := s.ask(ctx, connected, question)
	inTime := context.Cause(ctx) == nil
	if len(answers) > 0 || len(connected) < askedAtRandom || !inTime {
		return answers, nil
	}
	return s.ask(ctx, s.announcers(ctx, key, connected), question), nil
}

// ask puts the question to the peers. For a digest, one manifest is enough: its bytes
// speak for themselves.
func (s *swarm) ask(ctx context.Context, peers []peer.ID, question resolve.Question) []proxy.Answer {
	_, byDigest := question.ByDigest()
	var answers []proxy.Answer
	for reply := range s.resolve.AskMany(ctx, peers, question) {
		if reply.Err != nil || !reply.Answer.Found {
			continue
		}
		answers = append(answers, proxy.Answer{
			Digest: reply.Answer.Digest, MediaType: reply.Answer.MediaType, Manifest: reply.Answer.Manifest,
			Public: reply.Answer.Public, Age: reply.Answer.Age,
		})
		if byDigest && len(reply.Answer.Manifest) > 0 {
			break
		}
	}
	return answers
}

// someMembers are members that are connected, which in a small swarm are all of it.
func (s *swarm) someMembers() []peer.ID {
	members := s.host.Members()
	order := rand.Perm(len(members)) //nolint:forbidigo // whom to ask needs no seed
	some := make([]peer.ID, 0, askedAtRandom)
	for _, i := range order[:min(len(order), askedAtRandom)] {
		some = append(some, members[i].ID)
	}
	return some
}

// announcers are the peers that the DHT names for the key, but for those asked already.
func (s *swarm) announcers(ctx context.Context, key blob.Digest, asked []peer.ID) []peer.ID {
	ctx, cancel := context.WithTimeout(ctx, keyWait)
	defer cancel()
	var found []peer.ID
	for info := range s.discovery.Find(ctx, key, askedByKey) {
		if !slices.Contains(asked, info.ID) {
			found = append(found, info.ID)
		}
	}
	return found
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
