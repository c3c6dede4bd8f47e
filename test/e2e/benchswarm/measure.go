package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/shoal-project/shoal/test/e2e"
	"github.com/shoal-project/shoal/test/e2e/scope"
)

// checkoutBuild is the name of the daemon that was built from the checkout.
const checkoutBuild = "checkout"

// A bench is one run of the command, inside the sandbox.
type bench struct {
	opts     options
	site     e2e.Site
	out      *json.Encoder
	progress *progress
	timeline *timeline
	results  []result
}

// measure runs all scenarios and prints what they measured. It fails when one of them did,
// after it ran the others.
func measure(opts options) (err error) {
	b := &bench{opts: opts, out: json.NewEncoder(os.Stdout), progress: newProgress()}
	b.site = e2e.Site{
		Dir: e2e.SandboxDir(), Tools: e2e.FindTools(opts.checkout, e2e.SandboxDir()),
		Logs: filepath.Join(opts.checkout, "bin", "bench-swarm-logs"),
	}
	if opts.logs != "" {
		b.site.Logs, b.site.KeepLogs = opts.logs, true
	}
	if opts.godebug != "" {
		b.site.ShoalEnv = []string{"GODEBUG=" + opts.godebug}
	}
	if opts.profile != "" {
		if err := os.MkdirAll(opts.profile, 0o750); err != nil {
			return fmt.Errorf("--profile: %w", err)
		}
	}
	if b.timeline, err = newTimeline(opts.timeline); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.timeline.close()) }()
	machine := thisMachine()
	if err := b.out.Encode(opts.record(machine)); err != nil {
		return err
	}
	if err := b.warmUp(); err != nil {
		return err
	}
	for round := 1; round <= opts.repeat; round++ {
		if err := b.round(round); err != nil {
			return err
		}
	}
	all := summarize(b.results)
	writeTable(os.Stderr, all)
	writeAims(os.Stderr, opts, machine, all)
	return failures(all)
}

func failures(all []summary) error {
	var failed []string
	for _, s := range all {
		if s.failed > 0 {
			failed = append(failed, s.scenario)
		}
	}
	if len(failed) == 0 {
		return nil
	}
	return fmt.Errorf("failed: %s", strings.Join(failed, ", "))
}

// round runs every scenario once with every build, and prints their results.
func (b *bench) round(round int) error {
	for _, s := range b.opts.scenarios {
		for _, build := range b.builds(s) {
			r := result{Record: "scenario", Scenario: s.name, Build: build, Round: round}
			b.try(s, &r)
			b.results = append(b.results, r)
			if err := b.out.Encode(r); err != nil {
				return err
			}
		}
	}
	return nil
}

// builds are the daemons that a scenario is measured with.
func (b *bench) builds(s scenario) []string {
	if s.plain || b.opts.shoal == "" {
		return []string{checkoutBuild}
	}
	return []string{checkoutBuild, b.opts.shoal}
}

// try runs one trial into its result.
func (b *bench) try(s scenario, r *result) {
	site, profile := b.site, ""
	switch {
	case r.Build != checkoutBuild:
		site.Tools.Shoal = r.Build
	case b.opts.profile != "":
		profile = filepath.Join(b.opts.profile, r.name())
		site.Tools.Shoal = site.Tools.Profiled
		site.ShoalEnv = append(slices.Clone(site.ShoalEnv), "CPUPROFILE="+profile)
	}
	err := b.perform(site, r, func(t *trial) {
		t.profile = profile
		s.run(t)
	})
	r.finish(b.opts.rate)
	r.Load = loadAverage()
	if err != nil {
		r.Error = err.Error()
		b.progress.done("FAILED: %v; logs: %s", err, filepath.Join(site.Logs, r.name()))
		return
	}
	b.progress.done("%.2f to %.2f s, where one link takes %.2f s; the registry sent %.3f x the image",
		r.MinSeconds, r.MaxSeconds, r.LinkSeconds, r.EgressImages)
}

// perform calls do with the trial of a result in a new lab, and keeps its log where the lab
// keeps its own.
func (b *bench) perform(site e2e.Site, r *result, do func(*trial)) error {
	b.progress.begin(r.name())
	var log strings.Builder
	err := scope.Perform(r.name(), b.opts.timeout(), &log, func(s *scope.Scope) {
		do(&trial{
			Scope: s, opts: b.opts, progress: b.progress, timeline: b.timeline,
			lab: site.NewLab(s), result: r, daemons: make(map[*e2e.Node]usage),
		})
	})
	if err == nil && !site.KeepLogs {
		return nil
	}
	folder := filepath.Join(site.Logs, r.name())
	return errors.Join(err, os.MkdirAll(folder, 0o750),
		os.WriteFile(filepath.Join(folder, "trial.log"), []byte(log.String()), 0o600))
}
