package containerd

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/shoal-project/shoal/pkg/containerd/hoststoml"
	"github.com/shoal-project/shoal/pkg/probeimage"
)

// probesMax bounds the registries that one check pulls from.
const probesMax = 16

// A Probe proves where pulls go: by pulls of an image that Shoal alone has.
type Probe struct {
	// Pull has containerd pull an image. An error that wraps ErrNoRuntime says that
	// containerd cannot be asked, any other one that the pull failed.
	Pull func(ctx context.Context, reference string) error
	// Asked is how often the daemon at the mirror was asked for a tag of that image.
	Asked func(ctx context.Context, m hoststoml.Mirror, tag string) (int, error)
}

// A Probed is what became of a pull of the probe image.
type Probed string

// The values of Probed.
const (
	// ProbedThroughShoal: it came by the daemon at the mirror.
	ProbedThroughShoal Probed = "through_shoal"
	// ProbedElsewhere: it succeeded, through another daemon.
	ProbedElsewhere Probed = "elsewhere"
	// ProbedFailed: it failed.
	ProbedFailed Probed = "failed"
)

// ErrNoRuntime means that containerd cannot be asked to pull.
var ErrNoRuntime = errors.New("containerd's CRI cannot be reached")

// probe pulls from every registry whose pulls should go through Shoal.
func (n *Node) probe(ctx context.Context, r *Report, p Probe) error {
	probed := 0
	for i := range r.Registries {
		registry := &r.Registries[i]
		if !registry.Asked || registry.State == Elsewhere {
			continue
		}
		if probed == probesMax {
			r.Findings = append(r.Findings, Finding{
				Code: CodeProbesLimited, Severity: Note,
				Message: fmt.Sprintf("pulls were made from the first %d registries only", probesMax),
				Remedy:  "name others with --registry",
			})
			return nil
		}
		probed++
		finding, err := n.probeOne(ctx, registry, p)
		if err != nil {
			return err
		}
		r.Findings = append(r.Findings, finding...)
	}
	return nil
}

// probeOne pulls the probe image by a tag that nobody has used, and asks the daemon whether it
// saw that.
func (n *Node) probeOne(ctx context.Context, registry *Registry, p Probe) ([]Finding, error) {
	host, tag := registry.Name, rand.Text()
	if host == Default {
		host = probeimage.Registry
	}
	problem := func(code Code, remedy, format string, args ...any) []Finding {
		return []Finding{{
			Code: code, Severity: Problem, Registry: registry.Name, File: registry.File,
			Message: fmt.Sprintf(format, args...), Remedy: remedy,
		}}
	}
	pullErr := p.Pull(ctx, probeimage.Reference(host, tag))
	if errors.Is(pullErr, ErrNoRuntime) {
		return nil, pullErr
	}
	asked, err := p.Asked(ctx, n.options.Mirror, tag)
	if err != nil {
		return nil, fmt.Errorf("ask Shoal whether the pull came by: %w", err)
	}
	switch {
	case pullErr == nil && asked > 0:
		registry.Probed = ProbedThroughShoal
		return nil, nil
	case pullErr == nil:
		registry.Probed = ProbedElsewhere
		return problem(CodeProbeElsewhere, "name the address that its --listen has with --listen",
			"a pull from %s went through a Shoal, but not through the one at %s", registry.Name, n.options.Mirror.URL()), nil
	}
	registry.Probed = ProbedFailed
	if asked > 0 {
		return problem(CodeProbeFailed, "see the log of containerd",
			"containerd asked Shoal for the probe image, and the pull failed all the same: %s", limit(pullErr)), nil
	}
	return problem(CodeProbeFailed, "see whether containerd was restarted since config_path was set in its configuration",
		"containerd does not ask Shoal for images of %s, though its files say so: %s", registry.Name, limit(pullErr)), nil
}

// limit keeps a sentence of containerd's short.
func limit(err error) string { return fmt.Sprintf("%.300s", err.Error()) }
