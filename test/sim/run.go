package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/shoal-project/shoal/scheduler"
	"github.com/shoal-project/shoal/scheduler/sim"
)

// A measurement is what one run came to.
type measurement struct {
	Case    string  `json:"case"`
	Nodes   int     `json:"nodes"`
	Seed    uint64  `json:"seed"`
	Slowest float64 `json:"slowest"` // of the bound; below 0: somebody ended without
	Median  float64 `json:"median"`
	Egress  float64 `json:"egress"` // of the images
	Bound   float64 `json:"bound_seconds"`
	Events  int     `json:"events"`
	Wall    float64 `json:"wall_seconds"`
	Trace   string  `json:"trace"`
	Error   string  `json:"error,omitempty"`
}

// A job is a run to be played.
type job struct {
	c     sim.Case
	nodes int
	seed  uint64
}

// errBroken means that some run broke an invariant; the table said which.
var errBroken = errors.New("a Machine did what none may; the lines above say how to play it again")

// errMissed means that a case missed its aim; the table said which.
var errMissed = errors.New("aims were missed")

// run plays everything, in the order in which it was asked for, and reports as it goes.
func run(ctx context.Context, opts options) error {
	board := &board{}
	if term.IsTerminal(int(os.Stderr.Fd())) {
		board.out = os.Stderr
	}
	rep := newReport(opts, board)
	for _, c := range opts.cases {
		counts := opts.nodes
		if len(counts) == 0 {
			counts = []int{c.Nodes}
		}
		for _, nodes := range counts {
			group := make([]job, 0, len(opts.seeds))
			for _, seed := range opts.seeds {
				group = append(group, job{c, nodes, seed})
			}
			if err := rep.add(c, playAll(ctx, group, opts, board)); err != nil {
				return err
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
	}
	return rep.end()
}

// playAll plays jobs, a few at a time, and yields their measurements in order.
func playAll(ctx context.Context, jobs []job, opts options, board *board) []measurement {
	results := make([]measurement, len(jobs))
	var wait sync.WaitGroup
	slots := make(chan struct{}, opts.jobs)
	for i, j := range jobs {
		slots <- struct{}{}
		if ctx.Err() != nil {
			break
		}
		wait.Go(func() {
			defer func() { <-slots }()
			results[i] = play(ctx, j, opts, board)
		})
	}
	wait.Wait()
	return results
}

// play plays one run. When ctx ends, so does the run, without a result.
func play(ctx context.Context, j job, opts options, board *board) measurement {
	cfg := j.c.Config(j.nodes, j.seed)
	cfg.Scheduler = opts.set.config
	cfg.Replay += opts.set.replay()
	line := board.line(fmt.Sprintf("%s, %d nodes, seed %d", j.c.Name, j.nodes, j.seed))
	defer line.done()
	cfg.Progress = func(p sim.Progress) bool {
		line.say(fmt.Sprintf("at %.1f s, %d downloads to go, %.1f million events", seconds(p.Now), p.Waiting, float64(p.Events)/1e6))
		return ctx.Err() == nil
	}
	if opts.trace {
		cfg.Trace = func(line string) { _, _ = fmt.Fprintln(os.Stdout, line) }
	}
	if opts.watch > 0 {
		cfg.Watch, cfg.WatchEvery = newWatch(os.Stdout), scheduler.Time(opts.watch)
	}
	began := time.Now()
	result, err := sim.Run(cfg)
	if ctx.Err() != nil {
		return measurement{}
	}
	m := measurement{
		Case: j.c.Name, Nodes: j.nodes, Seed: j.seed, Egress: result.Reads(), Bound: seconds(cfg.Bound()),
		Events: result.Events, Wall: time.Since(began).Seconds(), Trace: fmt.Sprintf("%016x", result.Trace),
	}
	if times := cfg.Times(result, cfg.Counts); len(times) > 0 {
		m.Slowest = m.ofBound(times[len(times)-1])
		m.Median = m.ofBound(times[len(times)/2])
	}
	if err != nil {
		m.Error = err.Error()
	}
	return m
}

func (m measurement) ofBound(t scheduler.Time) float64 {
	if t == sim.Never {
		return -1
	}
	return seconds(t) / m.Bound
}

func seconds(t scheduler.Time) float64 { return time.Duration(t).Seconds() }
