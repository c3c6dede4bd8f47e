package liar

import (
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/libp2p/go-libp2p/core/peer"
)

// maxListeners bounds whom a liar keeps count of. A lab has fewer members.
const maxListeners = 64

// Told is what one listener was told.
type Told struct {
	Listener string `json:"listener"` // its peer ID
	Claims   int64  `json:"claims"`   // what the mode says without being asked
	Answers  int64  `json:"answers"`  // asks, or questions of the DHT, that were answered as the mode has it
	Chunks   int64  `json:"chunks"`   // chunks that were sent whole before the ask was taken back
}

// Which of these are lies each mode says.

func claims(t *Told) *int64  { return &t.Claims }
func answers(t *Told) *int64 { return &t.Answers }
func chunks(t *Told) *int64  { return &t.Chunks }

// A ledger keeps count for each listener. The zero value is empty. It is safe for concurrent use.
type ledger struct {
	mu   sync.Mutex
	told map[peer.ID]*Told
}

// note counts one more for a listener, unless there are too many of them.
func (l *ledger) note(listener peer.ID, of func(*Told) *int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	told := l.told[listener]
	if told == nil {
		if len(l.told) >= maxListeners {
			return
		}
		if l.told == nil {
			l.told = make(map[peer.ID]*Told)
		}
		told = &Told{Listener: listener.String()}
		l.told[listener] = told
	}
	*of(told)++
}

func (l *ledger) all() []Told {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := make([]Told, 0, len(l.told))
	for told := range maps.Values(l.told) {
		list = append(list, *told)
	}
	slices.SortFunc(list, func(a, b Told) int { return strings.Compare(a.Listener, b.Listener) })
	return list
}
