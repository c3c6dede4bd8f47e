package scheduler

import (
	"errors"
	"fmt"
	"time"

	"github.com/shoal-project/shoal/pkg/blob"
)

// ErrConfig is wrapped by Validate.
var ErrConfig = errors.New("scheduler configuration")

// A Config configures a Machine. A zero field means the default that its comment names.
type Config struct {
	Self PeerID // this node, as its peers call it
	Seed uint64 // of every random draw, together with Self
	Zone string // where this node stands; peers of the same zone are asked first

	Uploads        int // chunks sent at a time, over all blobs: 8
	UploadQueue    int // asks that wait for an upload, over all blobs: 32, more than one node asks of all others for a blob
	UploadsPerPeer int // asks of one peer that wait or are served, over all blobs: 8

	AsksPerPeer int  // chunks of one blob asked of one peer at a time: 8; 2 where many peers have some
	AsksMin     int  // chunks of one blob asked of all peers at a time, at least: 4
	AsksMax     int  // and at most: 24
	AsksAll     int  // and over all blobs, but two for each: 64
	AskTimeMin  Time // an ask is given up no earlier than this, and later than Patience: 2.25 s
	AskTimeMax  Time // and no later: 15 s

	Neighbours int // sessions that this node opens for one blob: 1024, fewer for a small one; twice as many are accepted
	Readers    int // members of a swarm that share its upstream reads: 1024

	Reads       int  // upstream reads of one blob at a time in a small swarm: 2; one in a larger
	ReadsAll    int  // upstream reads over all blobs: 3
	Stagger     Time // tau: rank r waits r times this long for the ranks before it: 50 ms
	LookupWait  Time // a node with members waits this long for a first peer: 100 ms
	SettleWait  Time // and no longer than this for a growing swarm to show its size: 1 s
	Patience    Time // a peer that brings nothing for this long is passed over: 3 s, more for large chunks
	RescueEvery Time // one run that the swarm has but does not deliver, this often: 5 s
	RetryMin    Time // pause after a failed upstream read: 250 ms
	RetryMax    Time // which doubles up to: 5 s
	ReadStall   Time // an upstream read without a chunk for this long is ended: 30 s, more for large chunks
	GiveUpAfter Time // a download that gains nothing while upstream fails: 30 s, twice that with peers

	DripAfter Time // a client that waits longer is fed from upstream: 4 min
	DripEvery Time // and 64 KiB this often: 25 min

	Hashers   int            // links checked at a time for one blob: 4
	HashBatch blob.ByteCount // bytes hashed by one HashPrefix: 16 MiB

	QuarantineBase Time // first quarantine of a peer: 1 min, doubling with each
	QuarantineMax  Time // up to: 1 h
}

const (
	millisecond = Time(time.Millisecond)
	second      = Time(time.Second)
	minute      = Time(time.Minute)
)

func orDefault[T comparable](v *T, otherwise T) {
	var zero T
	if *v == zero {
		*v = otherwise
	}
}

// WithDefaults returns the configuration that a Machine with c works by.
func (c Config) WithDefaults() Config {
	orDefault(&c.Uploads, 8)
	orDefault(&c.UploadQueue, 32)
	orDefault(&c.UploadsPerPeer, 8)
	orDefault(&c.AsksPerPeer, 8)
	orDefault(&c.AsksMin, 4)
	orDefault(&c.AsksMax, max(24, c.AsksMin))
	orDefault(&c.AsksAll, max(64, c.AsksMax))
	orDefault(&c.AskTimeMin, 2250*millisecond)
	orDefault(&c.AskTimeMax, max(15*second, c.AskTimeMin))
	orDefault(&c.Neighbours, 1024)
	orDefault(&c.Readers, 1024)
	orDefault(&c.Reads, 2)
	orDefault(&c.ReadsAll, max(3, c.Reads))
	orDefault(&c.Stagger, 50*millisecond)
	orDefault(&c.LookupWait, 100*millisecond)
	orDefault(&c.SettleWait, max(second, c.LookupWait))
	orDefault(&c.Patience, 3*second)
	orDefault(&c.RescueEvery, 5*second)
	orDefault(&c.RetryMin, 250*millisecond)
	orDefault(&c.RetryMax, max(5*second, c.RetryMin))
	orDefault(&c.ReadStall, 30*second)
	orDefault(&c.GiveUpAfter, 30*second)
	orDefault(&c.DripAfter, 4*minute)
	orDefault(&c.DripEvery, 25*minute)
	orDefault(&c.Hashers, 4)
	orDefault(&c.HashBatch, 16*blob.MiB)
	orDefault(&c.QuarantineBase, minute)
	orDefault(&c.QuarantineMax, max(60*minute, c.QuarantineBase))
	return c
}

// Validate reports the first field that is out of range. Errors wrap ErrConfig.
func (c Config) Validate() error {
	c = c.WithDefaults()
	for _, f := range []struct {
		name          string
		v, least, top int64
	}{
		{"Uploads", int64(c.Uploads), 1, 1024},
		{"UploadQueue", int64(c.UploadQueue), 1, 65536},
		{"UploadsPerPeer", int64(c.UploadsPerPeer), 1, 1024},
		{"AsksPerPeer", int64(c.AsksPerPeer), 1, 64},
		{"AsksMin", int64(c.AsksMin), 1, int64(c.AsksMax)},
		{"AsksMax", int64(c.AsksMax), 1, int64(c.AsksAll)},
		{"AsksAll", int64(c.AsksAll), 1, 65536},
		{"AskTimeMin", int64(c.AskTimeMin), int64(millisecond), int64(c.AskTimeMax)},
		{"Neighbours", int64(c.Neighbours), 1, 4096},
		{"Readers", int64(c.Readers), 1, 4096},
		{"Reads", int64(c.Reads), 1, int64(c.ReadsAll)},
		{"ReadsAll", int64(c.ReadsAll), 1, 1024},
		{"Stagger", int64(c.Stagger), 1, int64(minute)},
		{"LookupWait", int64(c.LookupWait), 1, int64(c.SettleWait)},
		{"SettleWait", int64(c.SettleWait), 1, int64(minute)},
		{"Patience", int64(c.Patience), int64(millisecond), int64(60 * minute)},
		{"RescueEvery", int64(c.RescueEvery), int64(millisecond), int64(60 * minute)},
		{"RetryMin", int64(c.RetryMin), int64(millisecond), int64(c.RetryMax)},
		{"ReadStall", int64(c.ReadStall), int64(millisecond), int64(60 * minute)},
		{"GiveUpAfter", int64(c.GiveUpAfter), int64(millisecond), int64(60 * minute)},
		{"DripAfter", int64(c.DripAfter), int64(millisecond), int64(60 * minute)},
		{"DripEvery", int64(c.DripEvery), int64(millisecond), int64(60 * minute)},
		{"Hashers", int64(c.Hashers), 1, 1024},
		{"HashBatch", int64(c.HashBatch), int64(blob.MaxChunk), int64(blob.GiB)},
		{"QuarantineBase", int64(c.QuarantineBase), int64(millisecond), int64(c.QuarantineMax)},
	} {
		if f.v < f.least || f.v > f.top {
			return fmt.Errorf("%w: %s is %d, not within %d and %d", ErrConfig, f.name, f.v, f.least, f.top)
		}
	}
	return nil
}
