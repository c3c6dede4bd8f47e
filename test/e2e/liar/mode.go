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

// A Bound is what a mode may cost honest nodes at most, beside a run in which nobody lies.
type Bound struct {
	Time   float64 // times the slowest honest pull
	Egress float64 // times what the registry sends to honest nodes
	// OneAudit says that the registry is read again for one chunk of each chain, and no more.
	OneAudit bool
	// Proven says that the lie can be proven, so that the liar must be quarantined. Others are
	// merely passed over: an honest node on a bad network looks the same.
	Proven bool
}

// A lie is what a liar does in the place of its daemon. What is nil is left to the daemon.
type lie struct {
	hello     func(wire.Hello) wire.Hello            // what it says to be about
	begin     func(*talk)                            // what it says once both have said Hello
	hides     func(wire.Message) bool                // what of the daemon's words it does not pass on
	answer    func(*talk, blob.ChunkIndex) error     // what it answers an ask; an error ends the answers
	visit     func(*Liar, host.Host, peer.ID)        // what it does to each member, once
	directory func(*Liar, host.Host, network.Stream) // what it answers on a stream of the DHT
}

// Usual bounds: a lie must cost neither twice the time nor twice the registry's bytes.

func proven() Bound { return Bound{Time: 2, Egress: 2, Proven: true} }

// audited is for chains, which the registry's own bytes refute.
func audited() Bound { return Bound{Time: 2, Egress: 2, Proven: true, OneAudit: true} }

func passedOver() Bound { return Bound{Time: 2, Egress: 2} }

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
