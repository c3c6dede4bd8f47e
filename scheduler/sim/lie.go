package sim

// A Lie is what a node does that no honest node would. Lies combine. Behind them the
// node's own Machine goes on, as a mask.
type Lie uint32

// Lies. All liars of a run collude: their false chains are one, and the wrong chunks that fit it.
const (
	WrongBytes   Lie = 1 << iota // other bytes in place of one chunk in Node.Every
	WrongPlace                   // the bytes of another chunk in place of one chunk in Node.Every
	FalseState                   // a chain with one wrong state, sent to everybody at once
	FalseLink                    // a chain whose links hold but for those that are checked last
	FalseChain                   // a chain over wrong chunks, which are what it serves: all but one link hold
	FalseHave                    // tells that it has everything; busy for what it does not have
	Mute                         // answers no ask
	Busy                         // answers each ask that it is busy
	Drip                         // sends at 1 KiB/s
	Stall                        // begins to send, and stands still
	CutOff                       // ends the session before a chunk's last byte
	FalseClaims                  // says that it reads four runs from upstream, every second four others, and never reads
	ClaimsAhead                  // says that it reads what others are about to, and never does
	HaveFlood                    // tells a chunk again a hundred times a second
	PeersFlood                   // names peers that do not exist, a hundred times a second
	Ghosts                       // names peers that do not exist to whoever joins
	GroundGhosts                 // names peers that do not exist and would be the first readers, every second
	NearlyHave                   // tells that it has all but one chunk; serves one ask in twenty, and is busy otherwise, but lies of bytes always
	AskFlood                     // asks for everything, and takes no byte of what comes

	lies = iota // how many there are
)

// has reports whether the node tells any of the lies.
func (l Lie) has(lies Lie) bool { return l&lies != 0 }

// reads reports whether the node reads from upstream. A liar does only if it needs something
// to be asked for, before it sends something else.
func (l Lie) reads() bool { return l == 0 || l.has(WrongBytes|WrongPlace) && !l.has(FalseHave) }
