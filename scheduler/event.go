package scheduler

import "github.com/shoal-project/shoal/pkg/blob"

// An Event is something that happened. The engine reports it to the Machine in the
// order in which it learned of it. The set is sealed.
//
//sumtype:decl
type Event interface{ event() }

// DownloadStarted means: this node wants the blob from now on.
type DownloadStarted struct {
	Blob  blob.Digest
	Size  blob.ByteCount
	Image blob.Digest // the manifest that names the blob; zero when it was asked for by itself
	// What a partial file from an earlier life already holds, by state. A zero Bitset is none.
	FromRegistry, Verified, Quarantined blob.Bitset
	// Upstream says whether a registry to read from is known. Without one only peers can deliver.
	Upstream bool
	// ClientsOnly ends the download once no client waits for it: the blob is larger than
	// what may be finished in the background.
	ClientsOnly bool
}

// UpstreamKnown means: a registry to read the blob from became known, or known anew with a
// fresh credential, after reads failed for want of one.
type UpstreamKnown struct{ Blob blob.Digest }

// UpstreamWhole means: the registry ignores Range for the blob. A part costs everything before it.
type UpstreamWhole struct{ Blob blob.Digest }

// BlobHeld means: the store holds the whole, proven blob, and a peer or a client will ask for it.
type BlobHeld struct {
	Blob blob.Digest
	Size blob.ByteCount
}

// BlobLost means: the store no longer holds the blob (evicted or unreadable).
type BlobLost struct{ Blob blob.Digest }

// ClientAsked means: one more client waits for the blob.
type ClientAsked struct{ Blob blob.Digest }

// ClientLeft means: one client fewer waits for the blob.
type ClientLeft struct{ Blob blob.Digest }

// MembersCounted means: the number of members this node is connected to, itself not counted.
type MembersCounted struct{ Members int }

// PeersFound means: the DHT named peers that want or have the blob. Done says that the
// lookup ended and no more will come of it.
type PeersFound struct {
	Blob  blob.Digest
	Peers []PeerID
	Done  bool
}

// PeerJoined means: a session about the blob with the peer is open, whoever opened it.
type PeerJoined struct {
	Blob blob.Digest
	Peer PeerID
	Zone string
}

// PeerLeft means: the session is over, or could not be opened. Every ask and upload of it is over too.
type PeerLeft struct {
	Blob blob.Digest
	Peer PeerID
	Why  Fault
}

// PeerHas means: the peer holds these chunks, in addition to those it named before.
type PeerHas struct {
	Blob   blob.Digest
	Peer   PeerID
	Chunks blob.Bitset
}

// A Span is a row of adjacent chunks.
type Span struct{ First, Count blob.ChunkIndex }

// End is the index behind the last chunk of the span.
func (s Span) End() blob.ChunkIndex { return s.First + s.Count }

// MaxSpans bounds the spans that one peer may say it reads.
const MaxSpans = 4

// PeerReads means: the peer reads these chunks from upstream now and no others. It replaces
// what it said before.
type PeerReads struct {
	Blob  blob.Digest
	Peer  PeerID
	Spans []Span
}

// PeersTold means: the peer named others of the blob's swarm (peer exchange).
type PeersTold struct {
	Blob  blob.Digest
	Peer  PeerID
	Peers []PeerID
}

// PeerAsked means: the peer wants the chunk.
type PeerAsked struct {
	Blob  blob.Digest
	Peer  PeerID
	Chunk blob.ChunkIndex
}

// PeerCancelled means: the peer no longer wants the chunk.
type PeerCancelled struct {
	Blob  blob.Digest
	Peer  PeerID
	Chunk blob.ChunkIndex
}

// UploadEnded means: the chunk is on its way to the peer entirely, or failed to be.
type UploadEnded struct {
	Blob  blob.Digest
	Peer  PeerID
	Chunk blob.ChunkIndex
}

// PeerRefused means: the peer answered busy, or that it does not have the chunk.
type PeerRefused struct {
	Blob  blob.Digest
	Peer  PeerID
	Chunk blob.ChunkIndex
}

// ChunkArrived means: the whole chunk came from the peer and lies in the partial file as Q.
type ChunkArrived struct {
	Blob  blob.Digest
	Peer  PeerID
	Chunk blob.ChunkIndex
}

// ReadProgressed means: an upstream read delivered a whole chunk, which lies in the partial file as R.
type ReadProgressed struct {
	Blob  blob.Digest
	Read  ReadID
	Chunk blob.ChunkIndex
}

// ReadEnded means: an upstream read is over. Its chunks not reported by ReadProgressed did not come.
type ReadEnded struct {
	Blob blob.Digest
	Read ReadID
	Why  Fault
}

// ChainArrived means: the peer sent a well-formed chain for the blob. It is a claim.
type ChainArrived struct {
	Blob blob.Digest
	Peer PeerID
}

// LinkChecked means: the link of the chunk under the supplier's chain was checked against the
// bytes in the partial file. Verified lists the chunks that are V because of it: the
// store found them in a suffix that is anchored to the digest.
type LinkChecked struct {
	Blob     blob.Digest
	Chunk    blob.ChunkIndex
	Supplier PeerID
	Holds    bool
	Verified []blob.ChunkIndex
}

// PrefixHashed means: chunks 0 to Next-1 were hashed in a row from the IV. At the end of the
// blob Verified lists every chunk if the digest came out, and Mismatch is set if not.
type PrefixHashed struct {
	Blob     blob.Digest
	Next     blob.ChunkIndex
	Verified []blob.ChunkIndex
	Mismatch bool
}

// ChunkAudited means: the chunk was read from upstream again and compared with the bytes in
// the partial file, which it replaced as R. Sender is who had sent those.
type ChunkAudited struct {
	Blob  blob.Digest
	Chunk blob.ChunkIndex
	Same  bool
	Why   Fault // not FaultNone: upstream could not be read and nothing was replaced
}

// HeadRead means: the head that ReadHead wanted may be given to clients, or did not come.
type HeadRead struct {
	Blob blob.Digest
	Why  Fault
}

// ChunkLost means: the bytes of the chunk are no longer there (a disk error): it must come again.
type ChunkLost struct {
	Blob  blob.Digest
	Chunk blob.ChunkIndex
}

// BlobProven means: the store closed the chain from the IV to the digest.
type BlobProven struct{ Blob blob.Digest }

// PeerMisbehaved means: the shell saw a violation that needs no judgement (a malformed frame,
// a limit exceeded, a wrong size in a Hello).
type PeerMisbehaved struct {
	Peer PeerID
	Blob blob.Digest
	What string
}

// Ticked means: the time that Deadline named has come.
type Ticked struct{}

func (DownloadStarted) event() {}
func (UpstreamKnown) event()   {}
func (UpstreamWhole) event()   {}
func (BlobHeld) event()        {}
func (BlobLost) event()        {}
func (ClientAsked) event()     {}
func (ClientLeft) event()      {}
func (MembersCounted) event()  {}
func (PeersFound) event()      {}
func (PeerJoined) event()      {}
func (PeerLeft) event()        {}
func (PeerHas) event()         {}
func (PeerReads) event()       {}
func (PeersTold) event()       {}
func (PeerAsked) event()       {}
func (PeerCancelled) event()   {}
func (UploadEnded) event()     {}
func (PeerRefused) event()     {}
func (ChunkArrived) event()    {}
func (ReadProgressed) event()  {}
func (ReadEnded) event()       {}
func (ChainArrived) event()    {}
func (LinkChecked) event()     {}
func (PrefixHashed) event()    {}
func (ChunkAudited) event()    {}
func (HeadRead) event()        {}
func (ChunkLost) event()       {}
func (BlobProven) event()      {}
func (PeerMisbehaved) event()  {}
func (Ticked) event()          {}
