package daemon

import (
	"context"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/shoal-project/shoal/pkg/admin"
	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/engine"
	"github.com/shoal-project/shoal/pkg/metrics"
)

// Status implements admin.Source.
func (n *node) Status(ctx context.Context) (admin.Status, error) {
	downloads, err := n.engine.Downloads(ctx)
	if err != nil {
		return admin.Status{}, err
	}
	quarantined, err := n.quarantined(ctx)
	if err != nil {
		return admin.Status{}, err
	}
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	status := admin.Status{
		Version: n.build.Version, Commit: n.build.Commit,
		Node: host, PeerID: n.peerID(), Zone: n.cfg.Zone, StartedAt: n.start.UTC(),
		Membership: n.swarm.membership(), Members: n.swarm.members(),
		Traffic: n.traffic(), Store: n.storeStatus(), Containerd: n.runtime.status(),
		Quarantined: quarantined, Warnings: n.warnings.list(),
	}
	if w, failing := n.disk.warning(); failing {
		status.Warnings = append(status.Warnings, w)
	}
	for _, d := range downloads {
		if !d.Proven {
			status.Downloads = append(status.Downloads, downloadStatus(d))
		}
	}
	return status, nil
}

func (n *node) traffic() admin.Traffic {
	total, counts := n.engine.Totals(), n.proxy.Counts()
	traffic := admin.Traffic{
		FromRegistry: total.FromUpstream + blob.ByteCount(counts.DirectBytes), FromPeers: total.FromPeers,
		FromStore: total.FromStore, ToPeers: total.ToPeers, ToClients: blob.ByteCount(counts.SentBytes),
		RegistryRate: int64(total.RateUpstream), PeersRate: int64(total.RatePeers), ToPeersRate: int64(total.RateToPeers),
	}
	for _, registry := range n.upstream.Stats() {
		traffic.UpstreamRequests += int64(registry.Requests)
	}
	return traffic
}

func (n *node) storeStatus() admin.Store {
	stats := n.store.Stats()
	return admin.Store{
		Blobs: stats.Blobs, Partial: stats.Partials,
		Bytes: stats.BlobBytes + stats.PartialBytes, MaxBytes: n.cfg.StoreMaxSize,
	}
}

func downloadStatus(d engine.DownloadView) admin.Download {
	out := admin.Download{
		Blob: d.Blob, Size: d.Size, StartedAt: d.Started.UTC(), Have: d.Have,
		FromRegistry: d.FromUpstream, FromPeers: d.FromPeers,
		RegistryRate: int64(d.RateUpstream), PeersRate: int64(d.RatePeers),
		Peers: d.Sessions, Clients: d.Clients,
	}
	if !d.Image.IsZero() {
		out.Image = &d.Image
	}
	return out
}

func (n *node) quarantined(ctx context.Context) ([]admin.Quarantine, error) {
	list, err := n.engine.Quarantined(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]admin.Quarantine, 0, len(list))
	for _, q := range list {
		out = append(out, admin.Quarantine{
			PeerID: peer.ID(q.Peer).String(), Reason: q.What, Until: n.engine.Wall(q.Until).UTC(),
		})
	}
	return out, nil
}

// Peers implements admin.Source.
func (n *node) Peers(ctx context.Context) ([]admin.Peer, error) {
	list, err := n.engine.Quarantined(ctx)
	if err != nil {
		return nil, err
	}
	until := map[peer.ID]time.Time{}
	for _, q := range list {
		until[peer.ID(q.Peer)] = n.engine.Wall(q.Until).UTC()
	}
	peers := n.swarm.peers()
	for i, p := range peers {
		id, err := peer.Decode(p.PeerID)
		if err != nil {
			continue
		}
		peers[i].Failures = n.engine.Failures(id)
		if at, ok := until[id]; ok {
			peers[i].QuarantinedUntil = &at
		}
	}
	return peers, nil
}

// Layers implements admin.Source.
func (n *node) Layers(ctx context.Context) ([]admin.Layer, error) {
	downloads, err := n.engine.Downloads(ctx)
	if err != nil {
		return nil, err
	}
	seeders := map[blob.Digest]int{}
	for _, d := range downloads {
		seeders[d.Blob] = d.Seeders
	}
	layers, kept := n.store.List(), n.runtime.list()
	out := make([]admin.Layer, 0, len(layers)+len(kept))
	here := map[blob.Digest]bool{}
	for _, l := range layers {
		g, err := blob.NewGeometry(l.Size)
		if err != nil {
			continue
		}
		chunks := int(g.Chunks())
		layer := admin.Layer{
			Blob: l.Digest, Size: l.Size, State: admin.LayerPartial, Place: admin.PlaceStore, Seeders: seeders[l.Digest],
			Chunks: admin.Chunks{
				Total: chunks, Registry: int(l.Registry), Verified: int(l.Verified), Quarantined: int(l.Quarantined),
			},
		}
		here[l.Digest] = l.Proven
		if l.Proven {
			layer.State, layer.Chunks = admin.LayerProven, admin.Chunks{Total: chunks, Verified: chunks}
		}
		if !l.LastUsed.IsZero() {
			used := l.LastUsed.UTC()
			layer.LastUsed = &used
		}
		out = append(out, layer)
	}
	for _, l := range kept {
		g, err := blob.NewGeometry(l.Size)
		if err != nil || here[l.Digest] {
			continue
		}
		chunks := int(g.Chunks())
		out = append(out, admin.Layer{
			Blob: l.Digest, Size: l.Size, State: admin.LayerProven, Place: admin.PlaceContainerd, Seeders: seeders[l.Digest],
			Chunks: admin.Chunks{Total: chunks, Verified: chunks},
		})
	}
	return out, nil
}

// outcomes are the proxy's counts for Prometheus.
func (n *node) outcomes() []metrics.Outcome {
	counts := n.proxy.Counts().Requests
	out := make([]metrics.Outcome, 0, len(counts))
	for _, c := range counts {
		out = append(out, metrics.Outcome{Kind: c.Kind.String(), Outcome: c.Outcome.String(), Count: c.N})
	}
	return out
}

func (n *node) peerID() string { return n.swarm.id().String() }

// warnings are what an operator should see to. The zero value is ready, and safe for
// concurrent use.
type warnings struct {
	mu  sync.Mutex
	all []admin.Warning
}

// maxWarnings bounds the list; more are in the log.
const maxWarnings = 32

func (w *warnings) add(code, message string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if warning := (admin.Warning{Code: code, Message: message}); len(w.all) < maxWarnings && !slices.Contains(w.all, warning) {
		w.all = append(w.all, warning)
	}
}

func (w *warnings) list() []admin.Warning {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.all)
}
