package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/shoal-project/shoal/test/e2e"
	"github.com/shoal-project/shoal/test/e2e/liar"
	"github.com/shoal-project/shoal/test/e2e/scope"
)

// freshHonest is after how many runs there is another honest one, since machines change.
const freshHonest = 10

// A campaign is one run of the command, inside the sandbox.
type campaign struct {
	opts    options
	site    e2e.Site
	out     *json.Encoder
	honest  []result
	results []result // those that count, without the honest ones
	since   int      // runs since the last honest one
	measure func(liar.Mode, *result)
}

func newCampaign(opts options) *campaign {
	c := &campaign{opts: opts, out: json.NewEncoder(os.Stdout)}
	c.measure = c.runTrial
	c.site = e2e.Site{
		Dir: e2e.SandboxDir(), Tools: e2e.FindTools(opts.checkout, e2e.SandboxDir()),
		Logs: filepath.Join(opts.checkout, "bin", "hostile-logs"), ShoalFlags: []string{"--log-level", "debug"},
	}
	if opts.logs != "" {
		c.site.Logs, c.site.KeepLogs = opts.logs, true
	}
	return c
}

// run makes all runs, prints them, and fails if one broke a bound.
func (c *campaign) run() error {
	for round := 1; round <= c.opts.repeat; round++ {
		for _, mode := range c.opts.modes {
			for _, colluders := range c.opts.colluders {
				if err := c.try(mode, colluders, round); err != nil {
					return err
				}
			}
		}
	}
	writeTable(os.Stderr, c.honest, c.results)
	return failures(c.results)
}

// failures names what broke.
func failures(results []result) error {
	var errs []error
	for _, r := range results {
		for _, broken := range r.Broken {
			errs = append(errs, fmt.Errorf("%s: %s", r.name(), broken))
		}
		if r.Error != "" {
			errs = append(errs, fmt.Errorf("%s: failed: %s", r.name(), r.Error))
		}
	}
	return errors.Join(errs...)
}

// try makes one run, and makes it again, beside an honest one, while it is late and nothing else.
func (c *campaign) try(mode liar.Mode, colluders, round int) error {
	for try := range c.opts.retries + 1 {
		if len(c.honest) == 0 || try > 0 || c.since >= freshHonest {
			if err := c.tryHonestly(); err != nil {
				return err
			}
		}
		r := result{Mode: mode.Name, Colluders: colluders, Round: round + try*c.opts.repeat, Retried: try}
		c.measure(mode, &r)
		c.since++
		r.compare(c.honest)
		late := r.Error == "" && r.judge(mode.Bound, c.audits(r))
		if err := c.tell(r); err != nil {
			return err
		}
		if !late || try == c.opts.retries {
			c.results = append(c.results, r)
			return nil
		}
	}
	return nil
}

// audits is how many chunks a run may audit: one for each liar and blob, at each honest node. Of one chain that
// two send that is one more than usual, as there may be for a chunk that nobody else has.
func (c *campaign) audits(r result) int {
	const config = 1 // is a blob as the layers are
	return r.Pulls * r.Colluders * (c.opts.layers + config)
}

// tryHonestly makes a run in which nobody lies.
func (c *campaign) tryHonestly() error {
	r := result{Mode: honest, Round: len(c.honest) + 1}
	c.measure(liar.Mode{Name: honest}, &r)
	if r.Error == "" {
		c.honest, c.since = append(c.honest, r), 0
		r.compare(c.honest)
		r.judge(liar.Bound{Time: 2, Egress: 2}, c.audits(r))
	}
	if err := c.tell(r); err != nil {
		return err
	}
	return failures([]result{r})
}

func (c *campaign) tell(r result) error {
	said := "held"
	switch {
	case r.Error != "":
		said = "FAILED: " + r.Error
	case len(r.Broken) > 0:
		said = "BROKEN: " + strings.Join(r.Broken, "; ")
	}
	_, _ = fmt.Fprintf(os.Stderr, "%s %s: %.2f s (%.2f x), egress %.3f (%.2f x), %d quarantined: %s\n",
		time.Now().Format(time.TimeOnly), r.name(), r.Seconds, r.TimeRatio, r.EgressImages, r.EgressRatio, r.Quarantined, said)
	return c.out.Encode(r)
}

// runTrial makes one run in a new lab, and keeps its log where the lab keeps its own.
func (c *campaign) runTrial(mode liar.Mode, r *result) {
	var log strings.Builder
	r.Broken = []string{} // never null in JSON
	err := scope.Perform(r.name(), c.opts.within, &log, func(s *scope.Scope) {
		t := &trial{Scope: s, opts: c.opts, mode: mode, result: r, lab: c.site.NewLab(s)}
		t.run()
	})
	r.Load = loadAverage()
	if err == nil && !c.site.KeepLogs {
		return
	}
	folder := filepath.Join(c.site.Logs, r.name())
	err = errors.Join(err, os.MkdirAll(folder, 0o750),
		os.WriteFile(filepath.Join(folder, "trial.log"), []byte(log.String()), 0o600))
	if err != nil {
		r.Error = err.Error()
	}
}
