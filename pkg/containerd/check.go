package containerd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/shoal-project/shoal/pkg/containerd/hoststoml"
)

// SchemaVersion is the version of the documents Report and Changes. It grows when a field
// changes its meaning or goes away; a new field or code does not change it.
const SchemaVersion = 1

// A State says what becomes of the pulls from one registry.
type State string

// The values of State.
const (
	// ThroughShoal: containerd asks Shoal first, and the registry when Shoal is down.
	ThroughShoal State = "through_shoal"
	// Enforced: containerd asks Shoal and nobody else.
	Enforced State = "enforced"
	// Elsewhere: it asks others first, or only others.
	Elsewhere State = "elsewhere"
)

// A Report says whether the pulls of a node go through Shoal. Its JSON is stable.
type Report struct {
	SchemaVersion int `json:"schema_version"`
	// Effective is set when containerd asks Shoal first for every registry that was asked
	// about, and Shoal answers.
	Effective bool   `json:"effective"`
	Mirror    string `json:"mirror"`
	// ConfigFile is containerd's main file, ConfigPath what config_path is, ConfigPathFile
	// where. All are empty where the folder was named instead.
	ConfigFile     string `json:"config_file"`
	ConfigPath     string `json:"config_path"`
	ConfigPathFile string `json:"config_path_file"`
	// Folders are where containerd looks for registries' folders.
	Folders    []string   `json:"folders"`
	Registries []Registry `json:"registries"`
	Findings   []Finding  `json:"findings"`
}

// A Registry is one registry of a Report. The one named "_default" is every registry that
// has no folder of its own.
type Registry struct {
	Name string `json:"name"`
	// File is the hosts.toml that decides; empty where there is none.
	File  string `json:"file"`
	State State  `json:"state"`
	// Asked is set where the report was asked about this registry; others are listed only.
	Asked bool `json:"asked"`
	// Probed is what became of a pull that proves it; empty where none was made.
	Probed Probed `json:"probed"`
}

// A CheckRequest says what to check.
type CheckRequest struct {
	// Registries must go through Shoal. None are those that Install was asked for, else
	// any with Shoal's mirror in it.
	Registries []string
	// Ask asks Shoal whether it answers; nil does not.
	Ask func(ctx context.Context, m hoststoml.Mirror) error
	// Probe proves it by a pull; the zero value does not.
	Probe Probe
}

// Problems reports whether the report holds a problem that is not of kind except.
func (r Report) Problems(except Code) bool {
	return slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Severity == Problem && f.Code != except })
}

// Check says whether the node's pulls go through Shoal, and why not. It fails only when it
// cannot tell.
func (n *Node) Check(ctx context.Context, request CheckRequest) (Report, error) {
	for _, registry := range request.Registries {
		if err := CheckRegistry(registry); err != nil {
			return Report{}, err
		}
	}
	r := Report{
		SchemaVersion: SchemaVersion, Mirror: n.options.Mirror.URL(),
		ConfigFile: n.flavor.config, ConfigPath: n.config.Path, ConfigPathFile: n.config.PathFile,
		Folders: append([]string{}, n.folders()...), Registries: []Registry{}, Findings: append([]Finding{}, n.configFindings()...),
	}
	if len(r.Folders) > 0 {
		if err := n.checkRegistries(&r, request.Registries); err != nil {
			return r, err
		}
	}
	var daemon []Finding
	if request.Ask != nil {
		daemon = n.daemonFindings(ctx, request.Ask)
		r.Findings = append(r.Findings, daemon...)
	}
	if request.Probe.Pull != nil && len(daemon) == 0 {
		if err := n.probe(ctx, &r, request.Probe); err != nil {
			return r, err
		}
	}
	r.Effective = !r.Problems("")
	return r, nil
}

func (n *Node) checkRegistries(r *Report, asked []string) error {
	places, err := n.places()
	if err != nil {
		return err
	}
	if len(asked) == 0 {
		if asked, err = n.expected(places); err != nil {
			return err
		}
	}
	names := slices.Clone(asked)
	for _, p := range places {
		names = append(names, registryOf(p.folder))
	}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		registry, findings, err := n.checkOne(name)
		if err != nil {
			return err
		}
		registry.Asked = slices.Contains(asked, name)
		r.Registries = append(r.Registries, registry)
		r.Findings = append(r.Findings, weigh(findings, registry, slices.Contains(asked, Default))...)
	}
	if len(asked) == 0 {
		r.Findings = append(r.Findings, Finding{
			Code: CodeNothingCovered, Severity: Problem,
			Message: fmt.Sprintf("no hosts.toml in %s names Shoal's mirror %s", strings.Join(r.Folders, ", "), r.Mirror),
			Remedy:  "shoal containerd install --registry docker.io; --existing is every registry that has a folder",
		})
	}
	return nil
}

// weigh leaves problems to registries that matter. A registry that Default would serve,
// had it no folder of its own, is worth a warning, any other one nothing.
func weigh(findings []Finding, r Registry, defaulted bool) []Finding {
	if r.Asked {
		return findings
	}
	if defaulted && r.State == Elsewhere {
		return []Finding{{
			Code: CodeShadowed, Severity: Warning, Registry: r.Name, File: r.File,
			Message: fmt.Sprintf("%s has a folder of its own, which containerd takes instead of %s: its pulls do not go through Shoal", r.Name, Default),
			Remedy:  "shoal containerd install --registry " + r.Name,
		}}
	}
	return slices.DeleteFunc(findings, func(f Finding) bool { return f.Severity == Problem })
}

// expected are the registries that Install was asked for, else those with Shoal's mirror.
func (n *Node) expected(places []place) ([]string, error) {
	var asked []string
	for _, root := range n.folders() {
		exists, err := n.tree.Exists(root)
		if err != nil {
			return nil, err
		}
		if !exists {
			continue
		}
		known, err := readRecord(n.tree, root)
		if _, wrong := errors.AsType[*RecordError](err); wrong || errors.Is(err, fs.ErrPermission) {
			continue // the files themselves will do
		}
		if err != nil {
			return nil, err
		}
		for _, e := range known.Entries {
			asked = append(asked, registryOf(e.Folder))
		}
	}
	for _, p := range places {
		if n.asksShoal(p, false) {
			asked = append(asked, registryOf(p.folder))
		}
	}
	slices.Sort(asked)
	return slices.Compact(asked), nil
}

// checkOne says what becomes of the pulls from one registry.
func (n *Node) checkOne(name string) (Registry, []Finding, error) {
	r := Registry{Name: name, State: Elsewhere}
	p, found, err := n.find(name)
	if err != nil {
		return r, nil, err
	}
	if !found {
		return r, []Finding{{
			Code: CodeNotCovered, Severity: Problem, Registry: name,
			Message: fmt.Sprintf("%s has no folder in %s, and there is no %s: containerd asks the registry itself", name, strings.Join(n.folders(), ", "), Default),
			Remedy:  "shoal containerd install --registry " + name,
		}}, nil
	}
	r.File = p.file()
	content, err := n.tree.ReadFile(p.file(), hoststoml.SizeMax)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(content) == 0 {
		return r, []Finding{{
			Code: CodeNotCovered, Severity: Problem, Registry: name, File: p.file(),
			Message: fmt.Sprintf("%s has the folder %s without a hosts.toml: containerd asks the registry itself", name, p.dir()),
			Remedy:  n.installRemedy(p, name),
		}}, nil
	}
	if err != nil {
		return r, []Finding{{
			Code: CodeUnreadable, Severity: Problem, Registry: name, File: p.file(),
			Message: fmt.Sprintf("%s cannot be read: %s", p.file(), reason(err)), Remedy: "see to the file, or run this as root",
		}}, nil
	}
	f, err := hoststoml.Parse(content)
	if err != nil {
		return r, []Finding{{
			Code: CodeMalformed, Severity: Problem, Registry: name, File: p.file(),
			Message: fmt.Sprintf("containerd does not accept %s and goes on without it: %s", p.file(), err),
			Remedy:  "mend the file",
		}}, nil
	}
	var findings []Finding
	r.State, findings = n.judge(f, p, name)
	if n.flavor.writes(content) {
		findings = append(findings, n.rewritten(p))
	}
	return r, findings, nil
}

func (n *Node) installRemedy(p place, name string) string {
	if !p.own() {
		name = Default
	}
	return "shoal containerd install --registry " + name
}

// judge says what becomes of pulls with a hosts.toml that containerd accepts.
func (n *Node) judge(f hoststoml.File, p place, name string) (State, []Finding) {
	mirror := n.options.Mirror
	all := append(slices.Clone(f.Hosts), f.Server)
	at := slices.IndexFunc(all, mirror.Is)
	finding := func(code Code, severity Severity, message, remedy string) []Finding {
		return []Finding{{Code: code, Severity: severity, Registry: name, File: p.file(), Message: message, Remedy: remedy}}
	}
	switch {
	case at < 0:
		for _, h := range all {
			if h.OnLoopback() {
				return Elsewhere, finding(CodeWrongPort, Problem,
					fmt.Sprintf("%s names %s on loopback, but Shoal is at %s", p.file(), hoststoml.Redact(h.Key), mirror.URL()),
					"name the address that shoal serve --listen has with --listen, or run "+n.installRemedy(p, name))
			}
		}
		return Elsewhere, finding(CodeNotCovered, Problem, fmt.Sprintf("%s does not name Shoal's mirror %s", p.file(), mirror.URL()), n.installRemedy(p, name))
	case at > 0:
		return Elsewhere, finding(CodeNotFirst, Problem,
			fmt.Sprintf("%s names %s before Shoal: containerd asks Shoal only when that fails", p.file(), hoststoml.Redact(all[0].Key)),
			"put Shoal's table in front of the others")
	}
	var found []Finding
	if c := all[0].Capabilities; c&hoststoml.Pull == 0 || c&hoststoml.Resolve == 0 {
		found = finding(CodeCapabilities, Problem,
			fmt.Sprintf("%s does not give Shoal both capabilities, pull and resolve: containerd asks others for the rest", p.file()),
			`set capabilities = ["pull", "resolve"] there`)
	}
	if slices.ContainsFunc(all, func(h hoststoml.Host) bool { return !mirror.Is(h) }) {
		return ThroughShoal, found
	}
	return Enforced, append(found, finding(CodeEnforced, Note,
		fmt.Sprintf("%s leaves no way around Shoal: while shoal serve is down, pulls from %s fail", p.file(), name), "")...)
}

// rewritten says that a change will not last.
func (n *Node) rewritten(p place) Finding {
	registry := registryOf(p.folder)
	key := registry
	if registry == Default {
		key = `"*"`
	}
	return Finding{
		Code: CodeRewritten, Severity: Warning, Registry: registry, File: p.file(),
		Message: fmt.Sprintf("%s writes %s anew from %s at each start", n.flavor.name, p.file(), n.flavor.registries),
		Remedy:  fmt.Sprintf("put %s in front of the endpoints of %s there (mirrors: {%s: {endpoint: [%q, ...]}}), or run shoal containerd install after each start", n.options.Mirror.URL(), registry, key, n.options.Mirror.URL()),
	}
}

// shadows are the registries whose own folders hide Default, where that was asked for.
func (n *Node) shadows(registries []string) ([]Finding, error) {
	if !slices.Contains(registries, Default) {
		return nil, nil
	}
	places, err := n.places()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, p := range places {
		found, ok, err := n.find(registryOf(p.folder))
		if err == nil && ok && found == p && p.own() && !n.asksShoal(p, false) {
			names = append(names, registryOf(p.folder))
		}
	}
	if len(names) == 0 {
		return nil, nil
	}
	return []Finding{{
		Code: CodeShadowed, Severity: Warning,
		Message: fmt.Sprintf("containerd takes these registries' own folders instead of %s: %s; their pulls do not go through Shoal", Default, strings.Join(names, ", ")),
		Remedy:  "cover them, too: shoal containerd install --existing",
	}}, nil
}
