package main

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/shoal-project/shoal/pkg/admin"
	"github.com/shoal-project/shoal/pkg/blob"
)

var noon = time.Date(2026, 10, 1, 12, 0, 0, 0, time.UTC)

// A fakeSource tells of a busy daemon, or of none in particular.
type fakeSource struct {
	now func() time.Time
	// mood is "", "empty" or "failing".
	mood string
	// moving makes downloads go on with the time.
	moving bool
}

func (f *fakeSource) failure() error {
	if f.mood == "failing" {
		return errors.New("the engine is \x1b[31mgone")
	}
	return nil
}

func digest(b byte) (d blob.Digest) {
	for i := range d {
		d[i] = b + byte(i)
	}
	return d
}

func (f *fakeSource) Status(context.Context) (admin.Status, error) {
	now := f.now()
	s := admin.Status{
		Version: "v1.2.3", Commit: "0123abc", Node: "worker-7", StartedAt: now.Add(-75 * time.Hour),
		Membership: admin.MembershipNoSecret,
	}
	if f.mood != "" {
		return s, f.failure()
	}
	s.PeerID, s.Zone, s.Membership, s.Members = "12D3KooWGDMwwqrpYYKpKCgxuKT2NfqPqa94QnkoBBpqvCaiCzWd", "eu-west-1a", admin.MembershipJoined, 41
	s.Traffic = admin.Traffic{
		FromRegistry: 1300 * blob.MiB, FromPeers: 38 * blob.GiB, FromStore: 9 * blob.GiB, ToPeers: 40 * blob.GiB, ToClients: 48 * blob.GiB,
		RegistryRate: 3 << 20, PeersRate: 95 << 20, ToPeersRate: 22 << 20, UpstreamRequests: 812,
	}
	s.Store = admin.Store{Blobs: 1231, Partial: 2, Bytes: 48 * blob.GiB, MaxBytes: 100 * blob.GiB}
	s.Downloads = []admin.Download{f.download(1, 1200*blob.MiB, 95<<20, now), f.download(90, 64*blob.MiB, 3<<20, now), f.download(160, 700*blob.KiB, 0, now)}
	s.Downloads[2].Have, s.Downloads[2].FromPeers = 0, 0
	s.Quarantined = []admin.Quarantine{{
		PeerID: "12D3KooWPeerThatSentAWrongChunkAbcdefghijkLMNOPQRSTU", Reason: "chunk 12 was not what the registry has\x1b]0;owned\x07", Until: now.Add(17 * time.Minute),
	}}
	s.Warnings = []admin.Warning{{Code: "http_upstream", Message: "upstream registry.example is read over plain http"}}
	return s, nil
}

func (f *fakeSource) download(seed byte, size blob.ByteCount, rate int64, now time.Time) admin.Download {
	d := admin.Download{
		Blob: digest(seed), Size: size, Have: size * 63 / 100, StartedAt: now.Add(-9 * time.Second),
		RegistryRate: rate / 10, PeersRate: rate - rate/10, Peers: 12, Clients: 1,
	}
	if f.moving && rate > 0 {
		d.Have = blob.ByteCount(now.UnixMilli()%1_000_000) * blob.ByteCount(rate) / 1000 % size
	}
	d.FromRegistry = d.Have / 10
	d.FromPeers = d.Have - d.FromRegistry
	return d
}

func (f *fakeSource) Peers(context.Context) ([]admin.Peer, error) {
	if f.mood != "" {
		return nil, f.failure()
	}
	now := f.now()
	until := now.Add(17 * time.Minute)
	return []admin.Peer{
		{
			PeerID: "12D3KooWQYhTNQdmr3ArTeUHRYzFg94BKyTkoWBDWez9kSCVe2Xo", Address: "/ip4/10.0.0.12/tcp/6051", MemberSince: now.Add(-26 * time.Hour), Zone: "eu-west-1a",
			RateIn: 61 << 20, RateOut: 2 << 20, BytesIn: 12 * blob.GiB, BytesOut: 7 * blob.GiB,
		},
		{
			PeerID: "12D3KooWPeerThatSentAWrongChunkAbcdefghijkLMNOPQRSTU", Address: "/ip4/10.0.0.66/tcp/6051", MemberSince: now.Add(-5 * time.Minute), Zone: "\x1b[2Jzöne",
			BytesIn: 4 * blob.MiB, Failures: 3, QuarantinedUntil: &until,
		},
	}, nil
}

func (f *fakeSource) Layers(context.Context) ([]admin.Layer, error) {
	if f.mood != "" {
		return nil, f.failure()
	}
	now := f.now()
	used, long := now.Add(-3*time.Second), now.Add(-50*time.Hour)
	have := f.download(1, 1200*blob.MiB, 95<<20, now).Have
	const total = 300
	chunks := int(have * total / (1200 * blob.MiB))
	return []admin.Layer{
		{Blob: digest(1), Size: 1200 * blob.MiB, State: admin.LayerPartial, Chunks: admin.Chunks{Total: total, Registry: chunks / 10, Verified: chunks / 2, Quarantined: chunks - chunks/10 - chunks/2}, Seeders: 3, LastUsed: &used},
		{Blob: digest(33), Size: 31 * blob.MiB, State: admin.LayerProven, Chunks: admin.Chunks{Total: 124, Verified: 124}, Seeders: 40, LastUsed: &long},
		{Blob: digest(66), Size: 1493, State: admin.LayerProven, Chunks: admin.Chunks{Total: 1, Verified: 1}},
	}, nil
}

// Prefetch brings every image but "bad".
func (f *fakeSource) Prefetch(_ context.Context, image string, report func(admin.Prefetch)) error {
	if image == "bad" {
		return errors.New("reg.example wants a login \x1b[31m; name it with --credentials-registry")
	}
	if !strings.Contains(image, "/") {
		image = "library/" + image
	}
	whole := digest(7)
	for done := range 4 {
		report(admin.Prefetch{
			Image: "docker.io/" + image + ":latest", Digest: &whole, Blobs: 3, Done: done, Size: 40 * blob.MiB,
			Have: blob.ByteCount(done) * 40 * blob.MiB / 3, FromRegistry: 8 * blob.MiB, FromPeers: blob.ByteCount(done) * 10 * blob.MiB,
		})
	}
	return nil
}
