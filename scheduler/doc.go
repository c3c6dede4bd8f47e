// Package scheduler decides who fetches which chunk from whom, and when.
//
// All policy of Shoal lives here, in one pure Machine per node: the engine reports what
// happened, Step returns what to do about it. The package imports no clock, no network
// and no lock; time is an argument and every random draw comes from Config.Seed, so that
// a run can be repeated to the byte (scheduler/sim does).
//
// It never sees a byte of content. That a chunk is R, V or Q is what the store said.
package scheduler

import "time"

// A Time is a point on the engine's monotonic clock, in nanoseconds since it started.
type Time time.Duration

// A PeerID names a node: the bytes of its libp2p peer ID. The empty PeerID, as the
// supplier of a chain, is this node itself.
type PeerID string

// A ReadID numbers the upstream reads of one Machine from 1.
type ReadID uint64

// A Fault says why something ended.
type Fault uint8

// Faults. FaultNone is success.
const (
	FaultNone         Fault = iota
	FaultCancelled          // this node ended it
	FaultGone               // the other side does not have it: 404, or a session refused
	FaultUnauthorized       // upstream wants another credential: 401, 403
	FaultTransient          // a broken connection, a time-out, 5xx, 429: may work later
	FaultDisk               // this node could not write
	FaultMisbehaved         // the peer broke the protocol
	FaultNoSource           // nobody is left who could deliver
	FaultMismatch           // what upstream delivered, twice, does not hash to the digest
)
