package sim

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/scheduler"
)

// drain is cargo that notes when its one piece has crossed.
type drain struct{ at *scheduler.Time }

func (d drain) crossed(w *world, f *flow) {
	*d.at = w.now
	w.fabric.stop(w.now, f)
}

// drawFlows draws links, and flows over one to three of them.
func drawFlows(t *rapid.T, f *fabric) []*link {
	links := make([]*link, rapid.IntRange(1, 6).Draw(t, "links"))
	for i := range links {
		links[i] = &link{rate: rapid.Int64Range(0, 1_000_000).Draw(t, "rate")}
	}
	for range rapid.IntRange(1, 20).Draw(t, "flows") {
		first := rapid.IntRange(0, len(links)-1).Draw(t, "first")
		crossed := []*link{links[first]}
		for next := first + 1; next < len(links) && len(crossed) < maxLinks && rapid.Bool().Draw(t, "more"); next++ {
			crossed = append(crossed, links[next])
		}
		fl := f.start(0, drain{}, blob.MiB, crossed...)
		fl.frozen = rapid.IntRange(0, 9).Draw(t, "frozen") == 0
	}
	return links
}

// TestRatesAreMaxMinFair holds rates against the definition: no link is overfull, and every
// flow has a link without room where no other flow has more. Whole numbers leave a rest of less
// than a byte a second for each flow.
func TestRatesAreMaxMinFair(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := &fabric{fillAt: never}
		links := drawFlows(t, f)
		f.fill(0)
		for _, l := range links {
			var sum int64
			for _, fl := range l.flows {
				sum += fl.rate
			}
			if sum > l.rate || sum != l.used {
				t.Fatalf("a link of %d carries %d, and notes %d", l.rate, sum, l.used)
			}
		}
		for _, fl := range f.flows {
			if fl.frozen != (fl.rate == 0) && fl.frozen {
				t.Fatalf("a frozen flow has %d", fl.rate)
			}
			if !fl.frozen && !bottlenecked(fl) {
				t.Fatalf("a flow of %d could have more", fl.rate)
			}
		}
	})
}

func bottlenecked(fl *flow) bool {
	for _, l := range fl.links[:fl.n] {
		most := int64(0)
		for _, o := range l.flows {
			most = max(most, o.rate)
		}
		if l.rate-l.used < int64(len(l.flows)) && most <= fl.rate+int64(len(l.flows)) {
			return true
		}
	}
	return false
}

// play runs a fabric until nothing moves.
func playFabric(f *fabric) *world {
	w := &world{fabric: *f}
	for at := w.fabric.next(); at < never; at = w.fabric.next() {
		w.now = at
		w.fabric.advance(w, at)
	}
	return w
}

// TestFlowsShareALink: two flows take twice as long while both are there, and the second
// has the link to itself afterwards.
func TestFlowsShareALink(t *testing.T) {
	for _, step := range []scheduler.Time{0, 2 * millisecond} {
		f := &fabric{fillAt: never, step: step}
		narrow, wide := &link{rate: 1_000_000}, &link{rate: 5_000_000}
		var short, long, capped scheduler.Time
		f.start(0, drain{&short}, 1_000_000, narrow, wide)
		f.start(0, drain{&long}, 2_000_000, narrow)
		f.start(0, drain{&capped}, 1_000_000, wide, &link{rate: 250_000})
		playFabric(f)
		for _, c := range []struct {
			name      string
			got, want scheduler.Time
		}{{"short", short, 2 * second}, {"long", long, 3 * second}, {"capped", capped, 4 * second}} {
			if off := c.got - c.want; off < -2*step-1 || off > 2*step+1 {
				t.Errorf("with a step of %v, %s took %v, want %v", step, c.name, c.got, c.want)
			}
		}
	}
}

// TestFabricForgetsWhatEnded: every link is empty in the end, and no byte was lost or made.
func TestFabricForgetsWhatEnded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := &fabric{fillAt: never, step: scheduler.Time(rapid.Int64Range(0, 3).Draw(t, "step")) * millisecond}
		l := &link{rate: rapid.Int64Range(1000, 100_000_000).Draw(t, "rate")}
		sizes := rapid.SliceOfN(rapid.Int64Range(0, 50_000_000), 1, 12).Draw(t, "sizes")
		ends := make([]scheduler.Time, len(sizes))
		var all int64
		for i, size := range sizes {
			f.start(0, drain{&ends[i]}, blob.ByteCount(size), l)
			all += size
		}
		w := playFabric(f)
		if len(w.fabric.flows) != 0 || len(w.fabric.links) != 0 || l.used != 0 || len(l.flows) != 0 {
			t.Fatalf("%d flows and %d links are left, %d used", len(w.fabric.flows), len(w.fabric.links), l.used)
		}
		least := scheduler.Time(float64(all) / float64(l.rate) * float64(second))
		slack := scheduler.Time(len(sizes)+1)*f.step + least/1000 + second/1000
		if w.now < least-1000 || float64(l.rate) > 1e6 && w.now > least+slack {
			t.Fatalf("%d bytes at %d took %v, want %v", all, l.rate, w.now, least)
		}
	})
}

func TestHeapAgreesWithSorting(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var h heap[item]
		for seq, at := range rapid.SliceOf(rapid.Int64Range(0, 9)).Draw(t, "times") {
			h.push(item{at: scheduler.Time(at), seq: uint64(seq)})
		}
		if rapid.Bool().Draw(t, "reversed") {
			for i, j := 0, len(h.items)-1; i < j; i, j = i+1, j-1 {
				h.items[i], h.items[j] = h.items[j], h.items[i]
			}
			h.order()
		}
		last := item{at: -1}
		for h.len() > 0 {
			x := h.pop()
			if x.less(last) {
				t.Fatalf("%v comes after %v", x, last)
			}
			last = x
		}
	})
}
