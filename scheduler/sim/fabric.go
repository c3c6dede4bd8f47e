package sim

import (
	"math"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/scheduler"
)

// never is a time that does not come.
const never = scheduler.Time(math.MaxInt64)

// A link is something that bytes cross one after another: a node's way up or down, the
// registry's way out, or what one connection may take.
type link struct {
	rate  int64 // bytes a second
	used  int64 // of rate, by the flows' rates
	flows []*flow
	index int // in fabric.links, while it has flows

	// While rates are worked out:
	spare int64 // of rate
	open  int64 // flows whose rate is not fixed yet
}

// maxLinks is the most links that a flow crosses: out of the sender, a limit of its own, into the receiver.
const maxLinks = 3

// maxPiece keeps a piece's nano-bytes within 63 bits.
const maxPiece = 4 * blob.GiB

// A flow is bytes on their way, in pieces that follow each other: the chunks of a read, or
// the one chunk of an upload.
type flow struct {
	id     uint64 // breaks ties
	cargo  cargo
	links  [maxLinks]*link
	places [maxLinks]int // in each link's flows
	n      int           // links
	index  int           // in fabric.flows; below 0: it has ended
	frozen bool          // cut off: it has no rate for now

	piece blob.ByteCount // length of the present piece
	left  int64          // of it, in nano-bytes, at since
	rate  int64          // bytes a second
	since scheduler.Time
	fixed bool   // while rates are worked out
	stamp uint32 // counts changes: what was due under an older one is not
}

// cargo is told when a piece has crossed. It then gives the flow another piece or stops it.
type cargo interface{ crossed(w *world, f *flow) }

// due is when the present piece of a flow has crossed.
type due struct {
	at    scheduler.Time
	flow  *flow
	stamp uint32
}

func (d due) less(o due) bool { return d.at < o.at || d.at == o.at && d.flow.id < o.flow.id }

// A fabric shares links among flows, max-min fair: nobody's rate could grow without taking
// from a flow that has no more. The rates are found by progressive filling (Bertsekas and
// Gallager, Data Networks, section 6.5.2), at each change, or at most once in step. Between
// two fillings a flow that begins has what its links have to spare, and what a flow that
// ended leaves stays unused: with a step far below the time that a chunk takes, and chunks
// that follow each other, that is next to nothing.
//
// Everything is counted in whole numbers, so that a run is the same on every machine.
type fabric struct {
	step   scheduler.Time
	fillAt scheduler.Time // never: the rates are right
	flows  []*flow
	links  []*link // that have flows
	due    heap[due]
	began  uint64 // flows so far
	least  heap[crowded]
}

// next is when something happens in the fabric.
func (f *fabric) next() scheduler.Time {
	for f.due.len() > 0 && f.due.items[0].flow.stamp != f.due.items[0].stamp {
		f.due.pop()
	}
	if f.due.len() == 0 {
		return f.fillAt
	}
	return min(f.fillAt, f.due.items[0].at)
}

// advance does what is due at now, which next named.
func (f *fabric) advance(w *world, now scheduler.Time) {
	if f.due.len() == 0 || f.due.items[0].at > now {
		f.fill(now)
		return
	}
	fl := f.due.pop().flow
	fl.left, fl.since = 0, now
	fl.stamp++
	fl.cargo.crossed(w, fl)
}

// start sends a first piece over the links.
func (f *fabric) start(now scheduler.Time, c cargo, piece blob.ByteCount, links ...*link) *flow {
	f.began++
	fl := &flow{id: f.began, cargo: c, since: now, index: len(f.flows), n: len(links)}
	f.flows = append(f.flows, fl)
	spare := int64(math.MaxInt64)
	for k, l := range links {
		if len(l.flows) == 0 {
			l.index = len(f.links)
			f.links = append(f.links, l)
		}
		fl.links[k], fl.places[k] = l, len(l.flows)
		l.flows = append(l.flows, fl)
		spare = min(spare, l.rate-l.used)
	}
	if f.step > 0 {
		f.setRate(fl, max(0, spare))
	}
	f.changed(now)
	f.more(now, fl, piece)
	return fl
}

// more gives a flow whose piece has crossed the next one.
func (f *fabric) more(now scheduler.Time, fl *flow, piece blob.ByteCount) {
	fl.piece, fl.left, fl.since = piece, int64(piece)*int64(second), now
	f.due.push(fl.due())
}

// stop ends a flow; one that has ended is left as it is.
func (f *fabric) stop(now scheduler.Time, fl *flow) {
	if fl.index < 0 {
		return
	}
	last := f.flows[len(f.flows)-1]
	f.flows[fl.index], last.index = last, fl.index
	f.flows = f.flows[:len(f.flows)-1]
	f.setRate(fl, 0)
	for k, l := range fl.links[:fl.n] {
		f.leave(l, fl.places[k])
	}
	fl.index = -1
	fl.stamp++
	f.changed(now)
}

// leave takes the flow at a place out of a link.
func (f *fabric) leave(l *link, place int) {
	last := l.flows[len(l.flows)-1]
	l.flows[place] = last
	for k, o := range last.links[:last.n] {
		if o == l {
			last.places[k] = place
		}
	}
	l.flows = l.flows[:len(l.flows)-1]
	if len(l.flows) == 0 {
		other := f.links[len(f.links)-1]
		f.links[l.index], other.index = other, l.index
		f.links = f.links[:len(f.links)-1]
	}
}

// freeze stops a flow where it stands, or lets it go on.
func (f *fabric) freeze(now scheduler.Time, fl *flow, frozen bool) {
	fl.frozen = frozen
	f.changed(now)
}

// sent is how much of the present piece has crossed.
func (fl *flow) sent(now scheduler.Time) blob.ByteCount {
	left := fl.left - fl.rate*int64(now-fl.since)
	return fl.piece - blob.ByteCount(max(0, left)/int64(second))
}

// changed has the rates worked out anew.
func (f *fabric) changed(now scheduler.Time) {
	at := now
	if f.step > 0 {
		at = (now/f.step + 1) * f.step
	}
	f.fillAt = min(f.fillAt, at)
}

// setRate gives a flow another rate and its links the difference.
func (f *fabric) setRate(fl *flow, rate int64) {
	for _, l := range fl.links[:fl.n] {
		l.used += rate - fl.rate
	}
	fl.rate = rate
}

// due is when the present piece will have crossed at the present rate; never, if it stands
// still. What was due before no longer is.
func (fl *flow) due() due {
	fl.stamp++
	at := never
	switch {
	case fl.left == 0:
		at = fl.since
	case fl.rate > 0:
		at = fl.since + scheduler.Time((fl.left+fl.rate-1)/fl.rate)
	}
	return due{at, fl, fl.stamp}
}

// crowded is a link with the share that each of its open flows had when it was looked at.
type crowded struct {
	share int64
	link  *link
}

func (c crowded) less(o crowded) bool {
	return c.share < o.share || c.share == o.share && c.link.index < o.link.index
}

// fill works out every rate: the link with the least to give for each of its flows fixes
// them, which leaves more for others on the other links, and so on.
func (f *fabric) fill(now scheduler.Time) {
	f.fillAt = never
	f.settle(now)
	for f.least.len() > 0 {
		c := f.least.items[0]
		l := c.link
		if l.open == 0 {
			f.least.pop()
			continue
		}
		if share := l.spare / l.open; share > c.share {
			f.least.replace(crowded{share, l})
			continue
		}
		f.least.pop()
		for _, fl := range l.flows {
			if !fl.fixed {
				fl.fix(c.share)
			}
		}
	}
	f.due.items = f.due.items[:0]
	for _, fl := range f.flows {
		f.due.items = append(f.due.items, fl.due())
	}
	f.due.order()
}

// settle counts what crossed at the old rates and takes them all back.
func (f *fabric) settle(now scheduler.Time) {
	f.least.items = f.least.items[:0]
	for _, l := range f.links {
		l.spare, l.open, l.used = l.rate, 0, 0
	}
	for _, fl := range f.flows {
		fl.left = max(0, fl.left-fl.rate*int64(now-fl.since))
		fl.since, fl.rate, fl.fixed = now, 0, fl.frozen
		if fl.frozen {
			continue
		}
		for _, l := range fl.links[:fl.n] {
			l.open++
		}
	}
	for _, l := range f.links {
		if l.open > 0 {
			f.least.items = append(f.least.items, crowded{l.spare / l.open, l})
		}
	}
	f.least.order()
}

// fix gives a flow its rate while rates are worked out.
func (fl *flow) fix(rate int64) {
	fl.fixed, fl.rate = true, rate
	for _, l := range fl.links[:fl.n] {
		l.spare -= rate
		l.used += rate
		l.open--
	}
}
