package main

import (
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/shoal-project/shoal/scheduler/sim"
)

// playOne plays what a command line says, which is one run.
func playOne(t *testing.T, line string) measurement {
	t.Helper()
	words := strings.Fields(line)
	if len(words) < 3 || strings.Join(words[:3], " ") != "go run ./test/sim" {
		t.Fatalf("%q does not play a run again", line)
	}
	opts, err := parse(words[3:])
	if err != nil || len(opts.cases) != 1 || len(opts.nodes) != 1 || len(opts.seeds) != 1 {
		t.Fatalf("%q is not one run: %v", line, err)
	}
	return play(t.Context(), job{opts.cases[0], opts.nodes[0], opts.seeds[0]}, opts, &board{})
}

// TestReplay: the command line in an error plays exactly the same run.
func TestReplay(t *testing.T) {
	for seed, name := range []string{"random", "tiny", "many-layers"} {
		c, _ := sim.FindCase(name)
		cfg := c.Config(5, uint64(seed))
		want, err := sim.Run(cfg)
		if err != nil {
			t.Fatal(err)
		}
		first := fmt.Sprintf("%016x", want.Trace)
		if got := playOne(t, cfg.Replay); got.Trace != first || got.Events != want.Events {
			t.Errorf("%s: trace %s after %d events, was %s after %d", cfg.Replay, got.Trace, got.Events, first, want.Events)
		}
		if got := playOne(t, cfg.Replay+" --set Uploads=1"); got.Trace == first {
			t.Errorf("%s: with one upload at a time it does the same", cfg.Replay)
		}
	}
}

func TestReplayWithSettings(t *testing.T) {
	opts, err := parse([]string{"--case", "random", "--set", "Uploads=8,Stagger=20ms"})
	if err != nil {
		t.Fatal(err)
	}
	if opts.set.config.Uploads != 8 || opts.set.config.Stagger != 20_000_000 || opts.set.replay() != " --set Uploads=8,Stagger=20ms" {
		t.Errorf("settings are %+v, to be set again by %q", opts.set.config, opts.set.replay())
	}
}

func TestParseRefuses(t *testing.T) {
	for _, line := range []string{
		"--case nothing", "--nodes 0", "--nodes x", "--nodes 10001", "--seeds 0", "--seeds 1001", "--jobs 0", "more",
		"--set Uploads", "--set Uploads=x", "--set Nothing=1", "--set Self=1", "--set Uploads=-1", "--sweep nothing",
	} {
		if _, err := parse(append([]string{"--json"}, strings.Fields(line)...)); err == nil || errors.Is(err, flag.ErrHelp) {
			t.Errorf("%q is taken", line)
		}
	}
}

func TestMedians(t *testing.T) {
	runs := []measurement{{Slowest: 3, Median: 1, Egress: 1}, {Slowest: 1, Median: 2, Egress: 1.5}, {Slowest: 2, Median: 3, Egress: 9}}
	if got := middle(runs); got.Slowest != 2 || got.Median != 2 || got.Egress != 1.5 {
		t.Errorf("the medians are %+v", got)
	}
	runs[1].Slowest = -1
	if got := middle(runs); got.Slowest != -1 {
		t.Errorf("one of the runs did not end, and the median is %v", got.Slowest)
	}
}

func TestVerdict(t *testing.T) {
	aim := sim.Aim{Slowest: 1.2, Egress: 1.05}
	for _, c := range []struct {
		aim  sim.Aim
		got  measurement
		want string
	}{
		{aim, measurement{Slowest: 1.2, Egress: 1.06}, "✓ slowest ≤ 1.20, ✗ egress ≤ 1.05"},
		{aim, measurement{Slowest: -1, Egress: 1}, "✗ slowest ≤ 1.20, ✓ egress ≤ 1.05"},
		{sim.Aim{Slowest: 1, Egress: -1}, measurement{Slowest: 1, Egress: 0}, "✓ slowest ≤ 1.00, ✓ egress ≤ 0.00"},
		{sim.Aim{}, measurement{}, "no aim"},
	} {
		if got := verdict(c.aim, c.got); got != c.want {
			t.Errorf("%+v for %+v is %q, want %q", c.got, c.aim, got, c.want)
		}
	}
}

// TestFigure: the figure is well-formed, shows every value, and leaves out what did not end.
func TestFigure(t *testing.T) {
	c, _ := sim.FindCase("fast-registry")
	medians := make([]measurement, 0, 3)
	for i, n := range []int{2, 20, 1000} {
		medians = append(medians, measurement{Nodes: n, Slowest: 1.11 * float64(i+1), Median: 1, Egress: 1.23 + float64(i)})
	}
	medians[2].Slowest = -1
	doc := drawSweep(c, medians, 3).svg()
	d := xml.NewDecoder(strings.NewReader(doc))
	for {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{">1.11<", ">2.22<", ">1.23<", ">3.23<", ">1000<", ">aim 1.20<", ">aim 1.05<", "registry&#39;s"} {
		if !strings.Contains(doc, want) {
			t.Errorf("%q is missing", want)
		}
	}
	if strings.Contains(doc, "-1") || strings.Contains(doc, "NaN") {
		t.Error("something is drawn that is not there")
	}
}

func TestNiceStep(t *testing.T) {
	got := make([]float64, 0, 8)
	for _, x := range []float64{0, 0.3, 0.26, 1, 1.2, 2.4, 3, 60} {
		got = append(got, niceStep(x))
	}
	if want := []float64{1, 0.5, 0.5, 1, 2, 2.5, 5, 100}; !slices.Equal(got, want) {
		t.Errorf("steps are %v, want %v", got, want)
	}
}
