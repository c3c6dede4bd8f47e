package containerd

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/shoal-project/shoal/pkg/containerd/hoststoml"
)

// A step is one hosts.toml that is to be changed.
type step struct {
	place place
	// entry is what the record will say.
	entry entry
	after []byte
	// missing is set where there is no file; needed is unset where all is as asked.
	missing, needed bool
}

// plan works out every change of one folder of folders; any that cannot be made fails all.
func (n *Node) plan(places []place, known record, enforce bool) (steps []step, findings []Finding, _ error) {
	var errs []error
	taken := map[string]bool{}
	for _, p := range places {
		actual, _, err := n.tree.Resolve(p.file())
		switch {
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			errs = append(errs, explain(err))
			continue
		case err == nil && taken[actual]: // another name for the same file
			steps = append(steps, step{place: p})
			continue
		case err == nil && actual != p.file():
			findings = append(findings, Finding{
				Code: CodeLinked, Severity: Note, Registry: registryOf(p.folder), File: p.file(),
				Message: fmt.Sprintf("%s is a link: %s is changed, for all who use it", p.file(), actual),
			})
		}
		taken[actual] = true
		s, found, err := n.planOne(p, known, enforce)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", p.file(), err))
			continue
		}
		steps, findings = append(steps, s), append(findings, found...)
	}
	return steps, findings, errors.Join(errs...)
}

func (n *Node) planOne(p place, known record, enforce bool) (step, []Finding, error) {
	s := step{place: p}
	current, err := n.tree.ReadFile(p.file(), hoststoml.SizeMax)
	s.missing = errors.Is(err, fs.ErrNotExist)
	if err != nil && !s.missing {
		return s, nil, explain(err)
	}
	e, recorded := known.entry(p.folder)
	s.entry, err = n.base(p, current, s.missing, e)
	if err != nil {
		return s, nil, err
	}
	after, findings, err := n.compose(p, s.entry.Before, enforce)
	if errors.Is(err, hoststoml.ErrPresent) && n.asksShoal(p, false) {
		return s, nil, nil // by hand, and as asked
	}
	if err != nil {
		return s, nil, err
	}
	s.after, s.needed = after, s.missing || string(current) != string(after)
	s.entry.BeforeSum, s.entry.Enforced = sum(s.entry.Before), enforce
	if recorded && e.BeforeSum == s.entry.BeforeSum { // until after is in place, one of these is
		s.entry.Written = slices.DeleteFunc(slices.Clone(e.Written), func(w string) bool { return w == sum(after) })
	}
	s.entry.Written = append(s.entry.Written, sum(after))
	if n.flavor.writes(current) {
		findings = append(findings, n.rewritten(p))
	}
	return s, findings, nil
}

// base is what a file is without Shoal: as the record has it, or what is left of an edited
// file, or the file itself.
func (n *Node) base(p place, current []byte, missing bool, e entry) (entry, error) {
	if !missing && e.wrote(current) {
		return entry{Folder: p.folder, Existed: e.Existed, FolderMade: e.FolderMade, Before: e.Before}, nil
	}
	rest, found, err := hoststoml.Cut(current)
	switch {
	case err != nil:
		return entry{}, fmt.Errorf("%w; take them out by hand, then run this again", err)
	case found:
		return entry{Folder: p.folder, Existed: len(rest) > 0, FolderMade: e.FolderMade, Before: rest}, nil
	default:
		return entry{Folder: p.folder, Existed: !missing, FolderMade: missing && n.isFolderless(p), Before: current}, nil
	}
}

// isFolderless reports whether not even the registry's folder is there.
func (n *Node) isFolderless(p place) bool {
	exists, err := n.tree.Exists(p.dir())
	return err == nil && !exists
}

// compose is the new text of a file.
func (n *Node) compose(p place, before []byte, enforce bool) ([]byte, []Finding, error) {
	if enforce {
		return hoststoml.Enforce(n.options.Mirror), n.dropped(p, before), nil
	}
	if len(before) == 0 {
		certificates, err := n.certificates(p)
		return hoststoml.Compose(n.options.Mirror, certificates), nil, err
	}
	after, err := hoststoml.Insert(before, n.options.Mirror)
	if _, malformed := errors.AsType[*hoststoml.ParseError](err); malformed {
		err = fmt.Errorf("containerd does not accept it: %w; mend it first", err)
	}
	if errors.Is(err, hoststoml.ErrPresent) {
		err = fmt.Errorf("%w; take them out, then run this again", err)
	}
	return after, nil, err
}

// certificates are those beside a hosts.toml that does not exist yet, as containerd would
// find them.
func (n *Node) certificates(p place) (c hoststoml.Certificates, _ error) {
	if n.isFolderless(p) {
		return c, nil
	}
	names, err := n.tree.ReadDir(p.dir())
	if err != nil {
		return c, err
	}
	for _, name := range names {
		if n.tree.IsDir(path.Join(p.dir(), name)) {
			continue
		}
		if strings.HasSuffix(name, ".crt") {
			c.CAs = append(c.CAs, name)
		}
		if stem, ok := strings.CutSuffix(name, ".cert"); ok {
			pair := [2]string{name, ""}
			if slices.Contains(names, stem+".key") {
				pair[1] = stem + ".key"
			}
			c.Pairs = append(c.Pairs, pair)
		}
	}
	return c, nil
}

// dropped says what the enforced form leaves out.
func (n *Node) dropped(p place, before []byte) []Finding {
	f, err := hoststoml.Parse(before)
	if err != nil {
		return nil
	}
	var findings []Finding
	var hosts []string
	for _, h := range f.Hosts {
		hosts = append(hosts, hoststoml.Redact(h.Key))
	}
	if len(hosts) > 0 {
		findings = append(findings, Finding{
			Code: CodeOtherHostsDropped, Severity: Warning, Registry: registryOf(p.folder), File: p.file(),
			Message: "enforced: these are no longer asked: " + strings.Join(hosts, ", "),
			Remedy:  "shoal containerd uninstall brings them back",
		})
	}
	certificates, err := n.certificates(p)
	if f.Server.TLS || err == nil && len(before) == 0 && len(certificates.CAs)+len(certificates.Pairs) > 0 {
		findings = append(findings, Finding{
			Code: CodeCertificatesUnused, Severity: Warning, Registry: registryOf(p.folder), File: p.file(),
			Message: "enforced: containerd uses the registry's certificates no longer, since Shoal reads the registry",
			Remedy:  "let shoal serve trust the registry (SSL_CERT_FILE, SSL_CERT_DIR)",
		})
	}
	return findings
}
