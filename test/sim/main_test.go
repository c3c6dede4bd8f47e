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

	"github.com/shoal-project/shoal/pkg/blob"
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
	sized := func(name string, layers ...blob.ByteCount) sim.Case {
		c, _ := sim.FindCase(name)
		return c.Sized(layers...)
	}
	for seed, c := range []sim.Case{
		sized("random"), sized("tiny"), sized("many-layers"), sized("churn", 3*blob.MiB, 1000), sized("thousand-small", 5*blob.MiB), sized("cut-short"),
	} {
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
		"--size x", "--size 1KB", "--size -1", "--size 1MiB,", "--size 65GiB", "--size 99999999999GiB", "--size " + strings.Repeat("1,", 100) + "1",
		"--set Uploads", "--set Uploads=x", "--set Nothing=1", "--set Self=1", "--set Uploads=-1", "--sweep nothing",
	} {
		if _, err := parse(append([]string{"--json"}, strings.Fields(line)...)); err == nil || errors.Is(err, flag.ErrHelp) {
			t.Errorf("%q is taken", line)
		}
	}
}

func TestSummary(t *testing.T) {
	runs := []measurement{{Slowest: 3, Median: 1, Egress: 1}, {Slowest: 1, Median: 2, Egress: 1.5}, {Slowest: 2, Median: 3, Egress: 9}}
	got := summarize(sim.Case{}, runs)
	if got.Middle != (figures{2, 2, 1.5}) || got.Worst != (figures{3, 3, 9}) || got.Seeds != 3 {
		t.Errorf("the summary is %+v", got)
	}
	runs[1].Slowest = -1
	if got := summarize(sim.Case{}, runs); got.Middle.Slowest != -1 || got.Worst.Slowest != -1 {
		t.Errorf("one of the runs did not end, and the summary is %+v", got)
	}
}

// TestVerdict: the worst seed is held against the aim, the last line says what was missed, and
// more nodes than a case is about have no aim.
func TestVerdict(t *testing.T) {
	aim := sim.Aim{Slowest: 1.2, Egress: 1.05}
	good := measurement{Nodes: 100, Slowest: 1, Egress: 0}
	for _, c := range []struct {
		aim    sim.Aim
		got    measurement
		want   string
		judged int
	}{
		{aim, measurement{Nodes: 100, Slowest: 1.2, Egress: 1.05}, "✓ slowest 1.20, egress 1.05", 1},
		{aim, measurement{Nodes: 100, Slowest: 1.2, Egress: 1.06}, "✗ misses egress 1.05", 1},
		{aim, measurement{Nodes: 20, Slowest: -1, Egress: 1.06}, "✗ misses slowest 1.20, egress 1.05", 1},
		{aim, measurement{Nodes: 101, Slowest: 9, Egress: 9}, "no aim beyond 100 nodes", 0},
		{sim.Aim{Slowest: 1, Egress: -1}, measurement{Nodes: 100, Slowest: 1, Egress: 0}, "✓ slowest 1.00, egress 0.00", 1},
		{sim.Aim{Slowest: 1, Egress: -1}, measurement{Nodes: 100, Slowest: 1, Egress: 0.01}, "✗ misses egress 0.00", 1},
		{sim.Aim{}, measurement{Nodes: 100, Slowest: 9}, "no aim", 0},
	} {
		about := sim.Case{Nodes: 100, Aim: c.aim}
		got := summarize(about, []measurement{c.got, good, good})
		if got.Nodes = c.got.Nodes; got.verdict(about) != c.want {
			t.Errorf("%+v for %+v is %q, want %q", c.got, c.aim, got.verdict(about), c.want)
		}
		var all tally
		all.add(got)
		if missed := strings.HasPrefix(c.want, "✗"); all.judged != c.judged || (len(all.missed) > 0) != missed || strings.Contains(all.String(), "MISSED") != missed {
			t.Errorf("%q is summed up as %q", c.want, &all)
		}
	}
}

// TestMissedAimFails: a run that misses its aim ends with an error, and one that meets it does not.
func TestMissedAimFails(t *testing.T) {
	for _, c := range []struct {
		most float64
		want error
	}{{100, nil}, {0.01, errMissed}} {
		opts, err := parse([]string{"--json", "--case", "cut-short", "--nodes", "2", "--size", "1MiB"})
		if err != nil {
			t.Fatal(err)
		}
		opts.cases[0].Aim = sim.Aim{Slowest: c.most}
		if err := run(t.Context(), opts); !errors.Is(err, c.want) {
			t.Errorf("with an aim of %v it ends with %v", c.most, err)
		}
	}
}

// TestFigure: the figure is well-formed, shows every value, and leaves out what did not end.
func TestFigure(t *testing.T) {
	c, _ := sim.FindCase("fast-registry")
	sums := make([]summary, 0, 3)
	for i, n := range []int{2, 20, 1000} {
		sums = append(sums, summary{Nodes: n, Middle: figures{Slowest: 1.11 * float64(i+1), Median: 1, Egress: 1.23 + float64(i)}})
	}
	sums[2].Middle.Slowest = -1
	doc := drawSweep(c, sums, 3).svg()
	d := xml.NewDecoder(strings.NewReader(doc))
	for {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{">1.11<", ">2.22<", ">1.23<", ">3.23<", ">1000<", ">aim 1.20<", ">aim 1.05<", "registry&#39;s", "1 layer of 1024 MiB"} {
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
