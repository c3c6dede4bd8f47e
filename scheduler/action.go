package scheduler

import "github.com/shoal-project/shoal/pkg/blob"

// An Action is work that the engine carries out for the Machine, in the order given.
// The set is sealed.
//
//sumtype:decl
type Action interface{ action() }

// FindPeers asks the DHT who wants or has the blob, by the image's key and by its own.
// Answered by PeersFound.
type FindPeers struct{ Blob, Image blob.Digest }

// Announce tells the DHT that this node takes part in the swarm of the key: the image's
// digest while it downloads, the blob's own digest once it is a seeder.
type Announce struct{ Key blob.Digest }

// Connect opens a session about the blob. Answered by PeerJoined or PeerLeft.
type Connect struct {
	Blob blob.Digest
	Peer PeerID
}

// Disconnect ends the session about the blob. Not answered.
type Disconnect struct {
	Blob blob.Digest
	Peer PeerID
}

// AskPeer asks the peer for the chunk. Answered by ChunkArrived, PeerRefused or PeerLeft.
type AskPeer struct {
	Blob  blob.Digest
	Peer  PeerID
	Chunk blob.ChunkIndex
}

// CancelAsk tells the peer that the chunk is no longer wanted. It may arrive all the same.
type CancelAsk struct {
	Blob  blob.Digest
	Peer  PeerID
	Chunk blob.ChunkIndex
}

// Serve sends an R or V chunk to the peer. Answered by UploadEnded.
type Serve struct {
	Blob  blob.Digest
	Peer  PeerID
	Chunk blob.ChunkIndex
}

// RefuseBusy tells the peer that its ask will not be served now.
type RefuseBusy struct {
	Blob  blob.Digest
	Peer  PeerID
	Chunk blob.ChunkIndex
}

// TellHave tells the peers which R and V chunks this node holds, in addition to those told
// before; some may be told again.
type TellHave struct {
	Blob   blob.Digest
	Peers  []PeerID
	Chunks blob.Bitset
}

// TellReading tells the peers which chunks this node reads from upstream now: so nobody else
// need read them. It replaces what was told before; no spans: none any more.
type TellReading struct {
	Blob  blob.Digest
	Peers []PeerID
	Spans []Span
}

// TellPeers names other members of the swarm to the peer (peer exchange).
type TellPeers struct {
	Blob  blob.Digest
	Peer  PeerID
	Peers []PeerID
}

// SendChain sends the blob's chain, of which this node checked every link, to the peers.
type SendChain struct {
	Blob  blob.Digest
	Peers []PeerID
}

// ReadUpstream reads Count chunks from First on from the registry, in one request, as R.
// Answered by ReadProgressed for each and then ReadEnded.
type ReadUpstream struct {
	Blob  blob.Digest
	Read  ReadID
	First blob.ChunkIndex
	Count blob.ChunkIndex
}

// CancelRead ends an upstream read early. ReadEnded still follows.
type CancelRead struct {
	Blob blob.Digest
	Read ReadID
}

// CheckLink checks the stored bytes of the chunk under the supplier's chain. Answered by LinkChecked.
type CheckLink struct {
	Blob     blob.Digest
	Chunk    blob.ChunkIndex
	Supplier PeerID
}

// HashPrefix hashes the stored chunks First to Through in a row, going on from where the
// prefix stands (First; 0 starts anew from the IV). Answered by PrefixHashed.
type HashPrefix struct {
	Blob           blob.Digest
	First, Through blob.ChunkIndex
}

// AuditChunk reads the chunk from upstream again, compares it with the stored bytes and
// puts it in their place as R. Answered by ChunkAudited.
type AuditChunk struct {
	Blob  blob.Digest
	Chunk blob.ChunkIndex
}

// ReadHead reads the first Length bytes of the blob from upstream, for clients alone: a chunk
// for each node of a swarm that waits long would be read many times over. Answered by HeadRead.
type ReadHead struct {
	Blob   blob.Digest
	Length blob.ByteCount
}

// DropChunk forgets the stored bytes of the chunk. Not answered.
type DropChunk struct {
	Blob  blob.Digest
	Chunk blob.ChunkIndex
}

// DropChain forgets the supplier's chain and every link that was checked under it; V
// chunks stay V, because the digest anchors them. Not answered.
type DropChain struct {
	Blob     blob.Digest
	Supplier PeerID
}

// Release has the store close the chain from IV to digest and put the blob in its place;
// waiting clients are served. Answered by BlobProven.
type Release struct{ Blob blob.Digest }

// Abandon ends the download without the blob: waiting clients get Why, sessions end.
// The partial file stays for a later try.
type Abandon struct {
	Blob blob.Digest
	Why  Fault
}

// Quarantine ends every session with the peer and refuses it for a while.
type Quarantine struct {
	Peer PeerID
	Blob blob.Digest
	What string // for people, without secrets
	For  Time
}

func (FindPeers) action()    {}
func (Announce) action()     {}
func (Connect) action()      {}
func (Disconnect) action()   {}
func (AskPeer) action()      {}
func (CancelAsk) action()    {}
func (Serve) action()        {}
func (RefuseBusy) action()   {}
func (TellHave) action()     {}
func (TellReading) action()  {}
func (TellPeers) action()    {}
func (SendChain) action()    {}
func (ReadUpstream) action() {}
func (CancelRead) action()   {}
func (CheckLink) action()    {}
func (HashPrefix) action()   {}
func (AuditChunk) action()   {}
func (ReadHead) action()     {}
func (DropChunk) action()    {}
func (DropChain) action()    {}
func (Release) action()      {}
func (Abandon) action()      {}
func (Quarantine) action()   {}
