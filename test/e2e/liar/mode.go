package liar

import (
	"fmt"
	"slices"
	"strings"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/wire"
)

// A Mode is one way to lie.
type Mode struct {
	Name  string
	About string // what the liar does
	Bound Bound

	lie lie
}

// Answers reports whether the liar answers all asks itself, so that nothing is had of its daemon.
func (m Mode) Answers() bool { return m.lie.answer != nil }

// Lies is how many lies there are in what a listener was told: where Bound.Proven is set, lies that it can
// prove.
func (m Mode) Lies(told Told) int64 { return *m.lie.lies(&told) }

// A Bound is what a mode may cost honest nodes at most, beside a run in which nobody lies.
type Bound struct {
	Time   float64 // times the slowest honest pull
	Egress float64 // times what the registry sends to honest nodes
	// OneAudit says that the registry is read again for one chunk of each chain, and no more.
	OneAudit bool
	// Audited says that it is read again at least once where a lie was told: that is how this one is found.
	Audited bool
	// Proven says that the lie can be proven, so that a liar that told one to an honest node must be
	// quarantined by one. A node judges what it took: bytes that come for a chunk which it has by then, or for a
	// blob that is done, it drops unread, and there is nothing to prove. So a chunk counts as a lie once it was sent
	// whole and its ask still stood: an ask stands for no longer than the chunk is missing. What remains is a Cancel
	// under way, for as long as a message takes; a liar that told a single lie, and that one then, would be
	// missed wrongly. Others are merely passed over.
	Proven bool
}

// A lie is what a liar does in the place of its daemon. What is nil is left to the daemon.
type lie struct {
	lies      func(*Told) *int64                     // what of all that is told are its lies; never nil
	hello     func(wire.Hello) wire.Hello            // what it says to be about
	begin     func(*talk)                            // what it says once both have said Hello
	hides     func(wire.Message) bool                // what of the daemon's words it does not pass on
	refuses   bool                                   // its daemon's refusals are its answers
	answer    func(*talk, blob.ChunkIndex) error     // what it answers an ask; an error ends the answers
	visit     func(*Liar, host.Host, peer.ID)        // what it does to each member, once
	directory func(*Liar, host.Host, network.Stream) // what it answers on a stream of the DHT
}

// Usual bounds: a lie must cost neither twice the time nor twice the registry's bytes.

func proven() Bound { return Bound{Time: 2, Egress: 2, Proven: true} }

// audited is for chains, which the registry's own bytes refute.
func audited() Bound { return Bound{Time: 2, Egress: 2, Proven: true, OneAudit: true} }

// refused is for chunks that a right chain refuses: only the registry's own tells who lied.
func refused() Bound {
	b := audited()
	b.Audited = true
	return b
}

func passedOver() Bound { return Bound{Time: 2, Egress: 2} }

// stood is for chunks that began and stand still: two liars after each other may have a node wait for 1.25 s and
// 2 s each, which weighs much in a pull of four seconds.
func stood() Bound {
	b := passedOver()
	b.Time = 3
	return b
}

// Modes are all that there are.
func Modes() []Mode {
	return slices.Concat(bytesModes(), chainModes(), slowModes(), wordModes(), floodModes(), directoryModes())
}

// Find returns the mode of a name.
func Find(name string) (Mode, error) {
	all := Modes()
	at := slices.IndexFunc(all, func(m Mode) bool { return m.Name == name })
	if at < 0 {
		names := make([]string, 0, len(all))
		for _, m := range all {
			names = append(names, m.Name)
		}
		return Mode{}, fmt.Errorf("there is no mode %q; there are %s", name, strings.Join(names, ", "))
	}
	return all[at], nil
}
