package resolve

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	mocknet "github.com/libp2p/go-libp2p/p2p/net/mock"
	"go.uber.org/goleak"

	"github.com/shoal-project/shoal/p2p"
	"github.com/shoal-project/shoal/p2p/admission"
	"github.com/shoal-project/shoal/pkg/blob"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type handler func(ctx context.Context, from peer.ID, q Question) (Answer, error)

func (h handler) Resolve(ctx context.Context, from peer.ID, q Question) (Answer, error) {
	return h(ctx, from, q)
}

func nothing(context.Context, peer.ID, Question) (Answer, error) { return Answer{}, nil }

// hosts are members that are connected with each other, over real connections.
func hosts(t *testing.T, n int) []host.Host {
	t.Helper()
	secret := admission.GenerateSecret()
	all := make([]*p2p.Host, 0, n)
	out := make([]host.Host, 0, n)
	for range n {
		h, err := p2p.New(p2p.Config{Secrets: []admission.Secret{secret}, Listen: []string{"/ip4/127.0.0.1/tcp/0"}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := h.Close(); err != nil {
				t.Error(err)
			}
		})
		for _, other := range all {
			if _, err := h.Dial(t.Context(), other.Addrs()[0]); err != nil {
				t.Fatal(err)
			}
		}
		all = append(all, h)
		out = append(out, h.Host())
	}
	return out
}

func serve(t *testing.T, h host.Host, handle handler, config Config) *Service {
	t.Helper()
	s, err := New(h, handle, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestAsk(t *testing.T) {
	hs := hosts(t, 2)
	manifest := bytes.Repeat([]byte("manifest "), MaxManifest/9)
	want := Answer{Found: true, Digest: sha256.Sum256(manifest), MediaType: "application/vnd.oci.image.index.v1+json", Public: true, Age: 7 * time.Second, Manifest: manifest}
	byTag := Question{"docker.io", "library/nginx", "latest"}
	byDigest := Question{"docker.io", "library/nginx", want.Digest.String()}
	a := serve(t, hs[0], nothing, Config{})
	b := serve(t, hs[1], func(_ context.Context, from peer.ID, q Question) (Answer, error) {
		if from != hs[0].ID() {
			t.Errorf("asked by %s", from)
		}
		if q == byTag || q == byDigest {
			return want, nil
		}
		return Answer{}, nil
	}, Config{})
	for _, q := range []Question{byTag, byDigest} {
		got, err := a.Ask(t.Context(), hs[1].ID(), q)
		if err != nil || got.Digest != want.Digest || got.MediaType != want.MediaType || !got.Public || got.Age != want.Age || !bytes.Equal(got.Manifest, manifest) {
			t.Errorf("%+v: %v", q, err)
		}
	}
	if got, err := a.Ask(t.Context(), hs[1].ID(), Question{"docker.io", "library/nginx", "other"}); err != nil || got.Found {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := b.Ask(t.Context(), hs[0].ID(), byTag); err != nil || got.Found {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := a.Ask(t.Context(), hs[1].ID(), Question{}); !errors.Is(err, ErrMalformed) {
		t.Error(err)
	}
	if _, err := a.Ask(t.Context(), "nobody", byTag); err == nil {
		t.Error("nobody answered")
	}
	for _, h := range hs {
		for _, c := range h.Network().Conns() {
			for _, stream := range c.GetStreams() {
				if stream.Protocol() == Protocol && stream.Stat().Direction == network.DirOutbound {
					t.Error("a stream was left open")
				}
			}
		}
	}
}

// A member that says something wrong is found out.
func TestLiesAreFoundOut(t *testing.T) {
	hs := hosts(t, 2)
	a := serve(t, hs[0], nothing, Config{Timeout: time.Minute})
	manifest := []byte("{}")
	digest := blob.Digest(sha256.Sum256(manifest))
	other := blob.Digest(sha256.Sum256([]byte("other")))
	byTag, byDigest := Question{"r", "p", "t"}, Question{"r", "p", digest.String()}
	for name, c := range map[string]struct {
		q Question
		a Answer
	}{
		"other bytes":    {byTag, Answer{Found: true, Digest: digest, Manifest: []byte("{ }")}},
		"other digest":   {byDigest, Answer{Found: true, Digest: other, Manifest: []byte("other")}},
		"no bytes":       {byDigest, Answer{Found: true, Digest: digest}},
		"no digest":      {byTag, Answer{Found: true, Manifest: manifest}},
		"not found, but": {byTag, Answer{Digest: digest}},
	} {
		hs[1].SetStreamHandler(Protocol, func(s network.Stream) {
			_, _ = io.Copy(io.Discard, s)
			_ = writeMessage(s, encodeAnswer(c.a))
			_ = s.Close()
		})
		if got, err := a.Ask(t.Context(), hs[1].ID(), c.q); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	hs[1].SetStreamHandler(Protocol, func(s network.Stream) {
		_, _ = s.Write([]byte{0xff, 0xff, 0xff, 0xff, 0x7f}) // 34 GB to come
	})
	if _, err := a.Ask(t.Context(), hs[1].ID(), byTag); !errors.Is(err, ErrMalformed) {
		t.Error(err)
	}
	hasty := serve(t, hs[0], nothing, Config{Timeout: 300 * time.Millisecond})
	silent := make(chan network.Stream, 1)
	hs[1].SetStreamHandler(Protocol, func(s network.Stream) { silent <- s })
	if _, err := hasty.Ask(t.Context(), hs[1].ID(), byTag); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	select {
	case s := <-silent:
		_ = s.Reset()
	default: // it did not get that far
	}
	hs[1].RemoveStreamHandler(Protocol)
}

// This node does not say what it cannot prove, and not to those who ask nonsense.
func TestAnswersAreChecked(t *testing.T) {
	hs := hosts(t, 2)
	a := serve(t, hs[0], nothing, Config{})
	serve(t, hs[1], func(_ context.Context, _ peer.ID, q Question) (Answer, error) {
		if q.Reference == "error" {
			return Answer{}, errors.New("disk on fire")
		}
		return Answer{Found: true, Digest: [32]byte{1}, Manifest: []byte("x")}, nil
	}, Config{Timeout: time.Second})
	for _, reference := range []string{"wrong", "error"} {
		if got, err := a.Ask(t.Context(), hs[1].ID(), Question{"r", "p", reference}); err == nil {
			t.Errorf("%s: %+v", reference, got)
		}
	}
	for name, send := range map[string][]byte{"nonsense": {3, 1, 2, 3}, "too long": {0xff, 0xff, 0x7f}, "half a question": {9}, "nothing": {}} {
		s, err := hs[0].NewStream(t.Context(), hs[1].ID(), Protocol)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Write(send); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(s); err == nil || len(got) > 0 {
			t.Errorf("%s: answered %x, %v", name, got, err)
		}
		_ = s.Reset()
	}
}

func TestRate(t *testing.T) {
	hs := hosts(t, 3)
	q := Question{"r", "p", "t"}
	a, b := serve(t, hs[0], nothing, Config{}), serve(t, hs[1], nothing, Config{})
	serve(t, hs[2], nothing, Config{Rate: 0.001, Burst: 5})
	for range 5 {
		if _, err := a.Ask(t.Context(), hs[2].ID(), q); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := a.Ask(t.Context(), hs[2].ID(), q); err == nil {
		t.Error("there is no limit")
	}
	if _, err := b.Ask(t.Context(), hs[2].ID(), q); err != nil {
		t.Errorf("one peer's questions count against another: %v", err)
	}
}

func TestAskMany(t *testing.T) {
	hs := hosts(t, 7)
	q := Question{"r", "p", "t"}
	digest := blob.Digest(sha256.Sum256([]byte("x")))
	a := serve(t, hs[0], nothing, Config{Timeout: time.Minute})
	peers := make([]peer.ID, 0, len(hs)-1)
	for i, h := range hs[1:] {
		peers = append(peers, h.ID())
		timeout := time.Minute
		if i == 0 {
			timeout = 300 * time.Millisecond
		}
		serve(t, h, func(ctx context.Context, _ peer.ID, _ Question) (Answer, error) {
			switch i {
			case 0: // never answers by itself
				<-ctx.Done()
				return Answer{}, ctx.Err()
			case 1:
				return Answer{}, errors.New("no")
			default:
				return Answer{Found: true, Digest: digest, Age: time.Duration(i) * time.Second}, nil
			}
		}, Config{Timeout: timeout})
	}
	var good, bad []peer.ID
	for r := range a.AskMany(t.Context(), peers, q) {
		if r.Err != nil {
			bad = append(bad, r.Peer)
			t.Logf("%s: %v", r.Peer, r.Err)
		} else if r.Answer.Digest == digest {
			good = append(good, r.Peer)
		}
	}
	slices.Sort(good)
	want := slices.Sorted(slices.Values(peers[2:]))
	if !slices.Equal(good, want) || len(bad) != 2 {
		t.Errorf("%d answered, %d failed", len(good), len(bad))
	}
	// The first answer is enough: the silent one is not waited for.
	for r := range a.AskMany(t.Context(), peers, q) {
		if r.Err == nil {
			break
		}
	}
	for range a.AskMany(t.Context(), nil, q) {
		t.Error("nobody was asked, and somebody replied")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for r := range a.AskMany(ctx, peers, q) {
		if r.Err == nil {
			t.Error("asked after the end")
		}
	}
}

// Close waits for answers under way, and afterwards nobody is answered.
func TestClose(t *testing.T) {
	hs := hosts(t, 2)
	started, ended := make(chan struct{}), make(chan struct{})
	b, err := New(hs[1], handler(func(ctx context.Context, _ peer.ID, _ Question) (Answer, error) {
		close(started)
		<-ctx.Done()
		close(ended)
		return Answer{}, ctx.Err()
	}), Config{Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	a := serve(t, hs[0], nothing, Config{Timeout: time.Minute})
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := a.Ask(t.Context(), hs[1].ID(), Question{"r", "p", "t"}); err == nil {
			t.Error("answered")
		}
	})
	<-started
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	select {
	case <-ended:
	default:
		t.Error("Close did not wait")
	}
	wg.Wait()
	if _, err := a.Ask(t.Context(), hs[1].ID(), Question{"r", "p", "t"}); err == nil {
		t.Error("answered after Close")
	}
}

func TestAskersAreBounded(t *testing.T) {
	net := mocknet.New()
	defer func() { _ = net.Close() }()
	h, err := net.GenPeer()
	if err != nil {
		t.Fatal(err)
	}
	s := serve(t, h, nothing, Config{})
	for i := range 2 * knownAskers {
		id := peer.ID(rune(i + 1))
		if p := s.admit(id); p != nil {
			s.leave(id, p)
		}
	}
	if n := s.askers.Len(); n != knownAskers || len(s.asking) != 0 {
		t.Errorf("%d askers are remembered, and %d ask", n, len(s.asking))
	}
}

func TestConfigRefuses(t *testing.T) {
	for _, bad := range []Config{{Timeout: -1}, {Rate: -1}, {Burst: -1}} {
		if _, err := New(nil, nil, bad); err == nil {
			t.Errorf("%+v is valid", bad)
		}
	}
}
