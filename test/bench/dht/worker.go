package main

import (
	"context"
	"errors"
	"io"
	"math"
	"net/rpc"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"github.com/shoal-project/shoal/p2p/admission"
	"github.com/shoal-project/shoal/pkg/blob"
)

// garbage is how much a worker that stays tidy piles up, in bytes.
const garbage = 1 << 30

// A Worker runs some hosts of a cluster. Its methods are those of net/rpc; hosts are named
// by their number within the worker, moments are nanoseconds of Unix time. The hosts end with
// the process.
type Worker struct {
	ctx   context.Context //nolint:containedctx // net/rpc hands none on: it ends with the process
	hosts []host
}

// work serves the process that started this one, until that closes standard input.
func work(ctx context.Context) error {
	server := rpc.NewServer()
	if err := server.RegisterName("Worker", &Worker{ctx: ctx}); err != nil {
		return err
	}
	server.ServeConn(stdio{os.Stdin, os.Stdout})
	return nil
}

// stdio is the pipe to the process that started this one.
type stdio struct {
	io.Reader
	io.WriteCloser
}

// StartArgs say which hosts to start: Count of All, from number First on.
type StartArgs struct {
	Secret                  []byte // as a file has it
	First, Count, All, Port int
}

// Start starts the hosts and gives their peer IDs.
func (w *Worker) Start(args StartArgs, ids *[]string) error {
	secret, err := admission.ParseSecret(args.Secret)
	if err != nil {
		return err
	}
	for i := range args.Count {
		h, err := startHost(secret, args.First+i, args.All, args.Port)
		if err != nil {
			return err
		}
		w.hosts = append(w.hosts, h)
		*ids = append(*ids, string(h.p2p.ID()))
	}
	return nil
}

// A State is what a worker's hosts have and have used, all together.
type State struct {
	CPU      time.Duration
	Messages uint64 // of the DHT, that came in

	Members, Neighbours int
	LeastNeighbours     int // of any host
	Goroutines          int
	RSS, Heap           float64 // MiB; only after a collection
}

func (s State) plus(o State) State {
	return State{
		CPU: s.CPU + o.CPU, Messages: s.Messages + o.Messages,
		Members: s.Members + o.Members, Neighbours: s.Neighbours + o.Neighbours,
		LeastNeighbours: min(s.LeastNeighbours, o.LeastNeighbours),
		Goroutines:      s.Goroutines + o.Goroutines, RSS: s.RSS + o.RSS, Heap: s.Heap + o.Heap,
	}
}

// State tells it; with collect set after a garbage collection.
func (w *Worker) State(collect bool, s *State) error { //nolint:unparam // as net/rpc wants it
	*s = processState(collect)
	s.LeastNeighbours = maxHosts
	for _, h := range w.hosts {
		n := h.discovery.Neighbours()
		s.Messages += h.discovery.Messages()
		s.Members += h.p2p.Count()
		s.Neighbours += n
		s.LeastNeighbours = min(s.LeastNeighbours, n)
	}
	return nil
}

// HostKey names a host and a key.
type HostKey struct {
	Host int
	Key  blob.Digest
}

// Provide announces the key and tells when it was told to.
func (w *Worker) Provide(args HostKey, at *int64) error {
	*at = time.Now().UnixNano()
	if !w.hosts[args.Host].discovery.Provide(args.Key) {
		return errors.New("a host announces too many keys")
	}
	return nil
}

// Withdraw ends the announcing of the key.
func (w *Worker) Withdraw(args HostKey, _ *struct{}) error { //nolint:unparam // as net/rpc wants it
	w.hosts[args.Host].discovery.Withdraw(args.Key)
	return nil
}

// A Look is what one Find came to.
type Look struct {
	First time.Duration // until the first participant; 0 if there was none
	Whole time.Duration
	Found int
}

// Find looks the key up once.
func (w *Worker) Find(args HostKey, look *Look) error { //nolint:unparam // as net/rpc wants it
	started := time.Now()
	for range w.hosts[args.Host].discovery.Find(w.ctx, args.Key, findLimit) {
		if look.Found++; look.Found == 1 {
			look.First = time.Since(started)
		}
	}
	look.Whole = time.Since(started)
	return nil
}

// Await looks the key up until somebody is found, and tells when that was.
func (w *Worker) Await(args HostKey, at *int64) error {
	ctx, cancel := context.WithTimeout(w.ctx, time.Minute)
	defer cancel()
	for ctx.Err() == nil {
		for range w.hosts[args.Host].discovery.Find(ctx, args.Key, 1) {
			*at = time.Now().UnixNano()
			return nil
		}
	}
	return errors.New("an announced key is not found within a minute")
}

// CrowdArgs say who pulls which image, and when.
type CrowdArgs struct {
	Image    blob.Digest
	Layers   []blob.Digest
	Enough   int // participants that make another look needless
	Arrivals []Arrival
	Until    int64 // when the pulls end
}

// An Arrival is the moment when a host is asked for the image.
type Arrival struct {
	Host int
	At   int64
}

// A Sighting is a moment when a host learned of a participant.
type Sighting struct {
	Peer string
	At   int64
}

// Tidy collects garbage now and, if that is what is asked, hardly any until Tidy is called again:
// each time the stacks of all hosts are looked through, where a daemon has only its own.
func (w *Worker) Tidy(stay bool, _ *struct{}) error { //nolint:unparam // as net/rpc wants it
	runtime.GC()
	percent, limit := 100, int64(math.MaxInt64)
	if stay {
		var memory runtime.MemStats
		runtime.ReadMemStats(&memory)
		percent, limit = -1, int64(memory.Sys+garbage)
	}
	debug.SetGCPercent(percent)
	debug.SetMemoryLimit(limit)
	return nil
}

// Crowd has the hosts pull the image and gives, for each arrival, what the host learned.
func (w *Worker) Crowd(args CrowdArgs, seen *[][]Sighting) error {
	*seen = make([][]Sighting, len(args.Arrivals))
	ctx, cancel := context.WithDeadline(w.ctx, time.Unix(0, args.Until))
	defer cancel()
	var wg sync.WaitGroup
	for i, a := range args.Arrivals {
		wg.Go(func() {
			if !pause(ctx, time.Until(time.Unix(0, a.At))) {
				return
			}
			p := pull{host: w.hosts[a.Host], enough: args.Enough, known: map[string]int64{}}
			p.run(ctx, args.Image, args.Layers)
			(*seen)[i] = p.sightings()
			p.host.discovery.Withdraw(args.Image)
		})
	}
	wg.Wait()
	return nil
}
