package exchange

import (
	"errors"
	"testing"

	"pgregory.net/rapid"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/wire"
)

// Two honest sides with messages under way between them, in any order of events: neither ever
// takes the other for a violator, and every ask gets one answer.
func TestHonestAsksAreNeverViolations(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		asker, answerer := newAsks(), newAsks()
		var there, back []wire.Message // under way
		var busy []blob.ChunkIndex     // what the answerer has not answered yet
		asked, answers := 0, 0
		index := rapid.Int32Range(0, 80)
		answer := func(m wire.Message) { back = append(back, m) }
		t.Repeat(map[string]func(*rapid.T){
			"ask": func(t *rapid.T) {
				i := blob.ChunkIndex(index.Draw(t, "chunk"))
				fresh, err := asker.ask(i)
				if err != nil && !errors.Is(err, ErrTooManyAsks) {
					t.Fatal(err)
				}
				if fresh {
					asked++
					there = append(there, wire.Ask{Chunk: i})
				}
			},
			"cancel": func(t *rapid.T) {
				i := blob.ChunkIndex(index.Draw(t, "chunk"))
				if asker.cancel(i) {
					there = append(there, wire.Cancel{Chunk: i})
				}
			},
			"hear": func(t *rapid.T) {
				if len(there) == 0 {
					t.Skip("nothing is under way")
				}
				m := there[0]
				there = there[1:]
				switch m := m.(type) {
				case wire.Ask:
					if err := answerer.asked(m.Chunk); err != nil {
						t.Fatalf("an honest ask is a violation: %v", err)
					}
					busy = append(busy, m.Chunk)
				case wire.Cancel:
					if answerer.answer(m.Chunk) {
						answer(wire.Busy(m))
					}
				default:
					t.Fatalf("%T", m)
				}
			},
			"answer": func(t *rapid.T) {
				if len(busy) == 0 {
					t.Skip("nothing was asked")
				}
				at := rapid.IntRange(0, len(busy)-1).Draw(t, "which")
				i := busy[at]
				busy = append(busy[:at], busy[at+1:]...)
				if !answerer.answer(i) {
					return // it was cancelled, and answered by that
				}
				if rapid.Bool().Draw(t, "refuse") {
					answer(wire.Busy{Chunk: i})
				} else {
					answer(wire.Chunk{Chunk: i})
				}
			},
			"receive": func(t *rapid.T) {
				if len(back) == 0 {
					t.Skip("nothing is under way")
				}
				i := blob.ChunkIndex(0)
				switch m := back[0].(type) {
				case wire.Busy:
					i = m.Chunk
				case wire.Chunk:
					i = m.Chunk
				default:
					t.Fatalf("%T", m)
				}
				back = back[1:]
				answers++
				if _, err := asker.answered(i); err != nil {
					t.Fatalf("an honest answer is a violation: %v", err)
				}
			},
			"": func(t *rapid.T) {
				owed := 0
				for _, n := range asker.owed {
					owed += n
				}
				if owed != asked-answers {
					t.Fatalf("%d answers owed of %d asks with %d answers", owed, asked, answers)
				}
				if len(asker.wanted) > MaxAsks || len(answerer.theirs) > MaxAsks {
					t.Fatalf("%d wanted, %d open", len(asker.wanted), len(answerer.theirs))
				}
				for i := range asker.wanted {
					if asker.owed[i] == 0 {
						t.Fatalf("chunk %d is waited for, and no answer will come", i)
					}
				}
			},
		})
	})
}
