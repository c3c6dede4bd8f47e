// Package admin is the local API of a running daemon, read by shoal status, peers and
// layers: three read-only JSON documents over HTTP on a unix socket, one order, that an image be
// prefetched, and their client.
//
// It serves no content (promise P6). What the figures are is the business of the Source that
// pkg/daemon provides. docs/admin-api.md describes the
// documents for their readers; a change there that breaks a reader needs a new
// SchemaVersion.
package admin

import (
	"time"

	"github.com/shoal-project/shoal/pkg/blob"
)

// SchemaVersion is the version of the documents. It grows when a field changes its
// meaning or goes away; a new field does not change it.
const SchemaVersion = 1

// A Membership says whether this node takes part in a swarm at all.
type Membership string

// The values of Membership.
const (
	// MembershipNoSecret: no secret was given, so the node runs alone on purpose.
	MembershipNoSecret Membership = "no_secret"
	// MembershipAlone: there is a secret, but no other member is connected.
	MembershipAlone Membership = "alone"
	// MembershipJoined: at least one other member is connected.
	MembershipJoined Membership = "joined"
)

// A Status is the daemon at one moment. All times are UTC, all sizes bytes, all rates
// bytes per second, and all counts begin when the daemon started.
type Status struct {
	// SchemaVersion and Time are set by the server.
	SchemaVersion int       `json:"schema_version"`
	Time          time.Time `json:"time"`

	Version string `json:"version"`
	Commit  string `json:"commit"`
	// Node is the host name.
	Node   string `json:"node"`
	PeerID string `json:"peer_id"`
	// Zone is empty when it is not known.
	Zone      string    `json:"zone"`
	StartedAt time.Time `json:"started_at"`

	Membership Membership `json:"membership"`
	// Members are the other members connected to now.
	Members int `json:"members"`

	Traffic     Traffic      `json:"traffic"`
	Store       Store        `json:"store"`
	Containerd  Containerd   `json:"containerd"`
	Downloads   []Download   `json:"downloads"`
	Quarantined []Quarantine `json:"quarantined"`
	Warnings    []Warning    `json:"warnings"`
}

// Traffic counts what was moved since the daemon started.
type Traffic struct {
	// FromRegistry is what was read from upstream registries.
	FromRegistry blob.ByteCount `json:"from_registry_bytes"`
	// FromPeers is what was received from peers.
	FromPeers blob.ByteCount `json:"from_peers_bytes"`
	// FromStore is what clients were given of blobs that were in the store already.
	FromStore blob.ByteCount `json:"from_store_bytes"`
	// ToPeers is what was sent to peers.
	ToPeers blob.ByteCount `json:"to_peers_bytes"`
	// ToClients is what was sent to clients.
	ToClients blob.ByteCount `json:"to_clients_bytes"`
	// RegistrySpared is what clients were given beyond what was read from the registry:
	// ToClients - FromRegistry, and 0 while more was read than given. Set by the server.
	RegistrySpared blob.ByteCount `json:"registry_spared_bytes"`
	// UpstreamRequests is how many requests were sent to upstream registries.
	UpstreamRequests int64 `json:"upstream_requests"`
	// The rates of the moment.
	RegistryRate int64 `json:"registry_bytes_per_second"`
	PeersRate    int64 `json:"peers_bytes_per_second"`
	ToPeersRate  int64 `json:"to_peers_bytes_per_second"`
}

// Store is what the node keeps on disk.
type Store struct {
	// Blobs are the proven blobs.
	Blobs int `json:"blobs"`
	// Partial are the blobs begun and not proven.
	Partial int `json:"partial"`
	// Bytes is what both take.
	Bytes blob.ByteCount `json:"bytes"`
	// MaxBytes is the most they may take; 0 is not known.
	MaxBytes blob.ByteCount `json:"max_bytes"`
}

// Containerd is the containerd beside this node.
type Containerd struct {
	// MirrorEffective says whether it asks Shoal first; null is not known.
	MirrorEffective *bool `json:"mirror_effective"`
	// Followed is set while it says what it keeps; Reason is a sentence that says why not.
	Followed bool   `json:"followed"`
	Reason   string `json:"reason"`
	// Blobs are the proven blobs that it keeps, and that this node offers.
	Blobs int            `json:"blobs"`
	Bytes blob.ByteCount `json:"bytes"`
	// Waiting are those that are to be proven.
	Waiting      int            `json:"waiting"`
	WaitingBytes blob.ByteCount `json:"waiting_bytes"`
}

// A Download is a blob on its way into the store.
type Download struct {
	Blob blob.Digest `json:"digest"`
	// Image is the manifest that names the blob; null when it was asked for by itself.
	Image     *blob.Digest   `json:"image"`
	Size      blob.ByteCount `json:"size_bytes"`
	StartedAt time.Time      `json:"started_at"`
	// Have is what is here, proven or not.
	Have blob.ByteCount `json:"have_bytes"`
	// FromRegistry and FromPeers are what this download received from each, including
	// what had to be thrown away: their sum may exceed Have.
	FromRegistry blob.ByteCount `json:"from_registry_bytes"`
	FromPeers    blob.ByteCount `json:"from_peers_bytes"`
	RegistryRate int64          `json:"registry_bytes_per_second"`
	PeersRate    int64          `json:"peers_bytes_per_second"`
	// Peers are the peers connected about this blob, Clients the clients that wait for it.
	Peers   int `json:"peers"`
	Clients int `json:"clients"`
}

// A Quarantine is a peer that is refused for a while.
type Quarantine struct {
	PeerID string `json:"peer_id"`
	// Reason is a sentence for people.
	Reason string    `json:"reason"`
	Until  time.Time `json:"until"`
}

// A Warning is something an operator should see to.
type Warning struct {
	// Code is for programs: lower-case words joined by underscores, such as disk_full.
	Code string `json:"code"`
	// Message is a sentence for people.
	Message string `json:"message"`
}

// PeerList is every member that is connected, the latest to join first.
type PeerList struct {
	// SchemaVersion and Time are set by the server.
	SchemaVersion int       `json:"schema_version"`
	Time          time.Time `json:"time"`
	// Total is the number of peers; fewer are listed when it exceeds ListMax.
	Total int    `json:"total"`
	Peers []Peer `json:"peers"`
}

// A Peer is one other member.
type Peer struct {
	PeerID string `json:"peer_id"`
	// Address is the multiaddr of the connection.
	Address     string    `json:"address"`
	MemberSince time.Time `json:"member_since"`
	// Zone is empty when it is not known.
	Zone string `json:"zone"`
	// In is from the peer to this node.
	RateIn   int64          `json:"in_bytes_per_second"`
	RateOut  int64          `json:"out_bytes_per_second"`
	BytesIn  blob.ByteCount `json:"in_bytes"`
	BytesOut blob.ByteCount `json:"out_bytes"`
	// Failures counts asks that were not answered with a right chunk.
	Failures int64 `json:"failures"`
	// QuarantinedUntil is null for a peer in good standing.
	QuarantinedUntil *time.Time `json:"quarantined_until"`
}

// LayerList is every blob of which the node has something, the latest used first.
type LayerList struct {
	// SchemaVersion and Time are set by the server.
	SchemaVersion int       `json:"schema_version"`
	Time          time.Time `json:"time"`
	// Total is the number of blobs; fewer are listed when it exceeds ListMax.
	Total  int     `json:"total"`
	Layers []Layer `json:"layers"`
}

// A LayerState says how far a blob is.
type LayerState string

// The values of LayerState.
const (
	// LayerPartial: chunks are missing or not proven.
	LayerPartial LayerState = "partial"
	// LayerProven: the whole blob hashed to its digest.
	LayerProven LayerState = "proven"
)

// A Place says whose file a blob is.
type Place string

// The values of Place.
const (
	// PlaceStore: this node's store has it.
	PlaceStore Place = "store"
	// PlaceContainerd: only containerd's content has it.
	PlaceContainerd Place = "containerd"
)

// A Layer is one blob.
type Layer struct {
	Blob   blob.Digest    `json:"digest"`
	Size   blob.ByteCount `json:"size_bytes"`
	State  LayerState     `json:"state"`
	Place  Place          `json:"place"`
	Chunks Chunks         `json:"chunks"`
	// Seeders are the peers known to have the whole blob.
	Seeders int `json:"seeders"`
	// LastUsed is when a client or a peer last read of it; null is never.
	LastUsed *time.Time `json:"last_used"`
}

// Chunks counts a blob's chunks by state (design, section 5).
type Chunks struct {
	Total int `json:"total"`
	// Registry are R: read from the registry by this node.
	Registry int `json:"registry"`
	// Verified are V: proven here. All of them, for a proven blob.
	Verified int `json:"verified"`
	// Quarantined are Q: from peers and not yet proven.
	Quarantined int `json:"quarantined"`
}

// Percent is how much of the blob is here, from 0 to 100.
func (d Download) Percent() float64 {
	if d.Size <= 0 {
		return 0
	}
	return min(100, max(0, 100*float64(d.Have)/float64(d.Size)))
}
