package containerd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"

	"github.com/shoal-project/shoal/pkg/containerd/hoststoml"
)

// An UninstallRequest says for which registries containerd is no longer to ask Shoal.
type UninstallRequest struct {
	// Registries as image names write them; none is all.
	Registries []string
	// Force puts back what was there before Shoal also where that was edited since, and
	// loses the edits.
	Force bool
}

// Uninstall gives every file back as it was before Install, byte for byte, and takes away
// files and folders that Install made. From a file that was edited since it takes only
// Shoal's own lines; where that is not possible the file is kept and a finding says what
// to do.
func (n *Node) Uninstall(ctx context.Context, request UninstallRequest) (Changes, error) {
	done := Changes{SchemaVersion: SchemaVersion, Mirror: n.options.Mirror.URL(), Changes: []Change{}, Findings: []Finding{}}
	for _, registry := range request.Registries {
		if err := CheckRegistry(registry); err != nil {
			return done, err
		}
	}
	roots, err := n.recordedRoots()
	if err != nil {
		return done, err
	}
	var errs []error
	for _, root := range roots {
		changes, findings, err := n.uninstallAt(ctx, root, request)
		done.Changes, done.Findings = append(done.Changes, changes...), append(done.Findings, findings...)
		errs = append(errs, explain(err))
	}
	return done, errors.Join(errs...)
}

// recordedRoots are the folders of folders that exist. Where the configuration does not
// lead to one any more, the usual ones are looked at: Shoal may have been there.
func (n *Node) recordedRoots() ([]string, error) {
	candidates := slices.Clone(n.folders())
	if n.options.HostsDir == "" {
		candidates = append(candidates, path.Join(path.Dir(n.flavor.config), "certs.d"))
	}
	var roots []string
	for _, root := range candidates {
		exists, err := n.tree.Exists(root)
		if err != nil {
			return nil, err
		}
		if exists && !slices.Contains(roots, root) {
			roots = append(roots, root)
		}
	}
	return roots, nil
}

func (n *Node) uninstallAt(ctx context.Context, root string, request UninstallRequest) (_ []Change, _ []Finding, err error) {
	lock, err := n.tree.Lock(ctx, root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil // another uninstall was there first
	}
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	if err := n.sweep(root); err != nil {
		return nil, nil, err
	}
	known, err := readRecord(n.tree, root)
	if err != nil {
		return nil, nil, err
	}
	entries, err := n.marked(root, known)
	if err != nil {
		return nil, nil, err
	}
	var changes []Change
	var findings []Finding
	next := known
	for _, e := range entries {
		p := place{root, e.Folder}
		if len(request.Registries) > 0 && !slices.Contains(request.Registries, registryOf(e.Folder)) {
			continue
		}
		action, err := n.restore(p, e, request.Force)
		if err != nil {
			return changes, findings, errors.Join(err, n.forget(root, known, next))
		}
		changes = append(changes, Change{Registry: registryOf(e.Folder), File: p.file(), Action: action})
		if action == Kept {
			findings = append(findings, n.keptFinding(p))
			continue
		}
		next = next.without(e.Folder)
	}
	if err := n.forget(root, known, next); err != nil {
		return changes, findings, err
	}
	if next.empty() && known.FolderMade {
		err = n.tree.RemoveEmpty(root)
	}
	return changes, findings, err
}

// sweep takes away what a crash left behind.
func (n *Node) sweep(root string) error {
	places, err := n.placesIn(root)
	if err != nil {
		return err
	}
	err = n.tree.Sweep(root)
	for _, p := range places {
		err = errors.Join(err, n.tree.Sweep(p.dir()))
	}
	return err
}

// forget writes what is left of the record.
func (n *Node) forget(root string, known, next record) error {
	if len(next.Entries) == len(known.Entries) {
		return nil
	}
	return next.write(n.tree, root)
}

// marked are the entries of the record, and files with Shoal's lines that it does not know.
func (n *Node) marked(root string, known record) ([]entry, error) {
	entries := slices.Clone(known.Entries)
	places, err := n.placesIn(root)
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{} // by the file itself: a folder may be a link to another
	for _, e := range known.Entries {
		if actual, _, err := n.tree.Resolve(place{root, e.Folder}.file()); err == nil {
			seen[actual] = true
		}
	}
	for _, p := range places {
		actual, _, err := n.tree.Resolve(p.file())
		if err != nil || seen[actual] {
			continue
		}
		seen[actual] = true
		content, err := n.tree.ReadFile(p.file(), hoststoml.SizeMax)
		if err != nil {
			continue // nothing of Shoal's
		}
		if _, found, err := hoststoml.Cut(content); found || err != nil {
			entries = append(entries, entry{Folder: p.folder})
		}
	}
	return entries, nil
}

// restore takes Shoal out of one file.
func (n *Node) restore(p place, e entry, force bool) (Action, error) {
	current, err := n.tree.ReadFile(p.file(), hoststoml.SizeMax)
	if errors.Is(err, fs.ErrNotExist) {
		return Gone, nil
	}
	if err != nil {
		return "", err
	}
	known := len(e.Written) > 0
	switch {
	case known && (e.wrote(current) || force):
		return n.putBack(p, e)
	case known && sum(current) == e.BeforeSum: // a crash came before the change
		return Restored, nil
	case known && e.Enforced: // what others added stands on what is not there any more
		if _, found, err := hoststoml.Cut(current); !found && err == nil {
			return Gone, nil
		}
		return Kept, nil
	}
	rest, found, err := hoststoml.Cut(current)
	switch {
	case err != nil:
		return Kept, nil //nolint:nilerr // the finding says so
	case !found:
		return Gone, nil
	case len(rest) == 0 && !e.Existed:
		return n.putBack(p, e)
	}
	return Cut, n.tree.Replace(p.file(), rest, 0o644)
}

// putBack restores what was there before.
func (n *Node) putBack(p place, e entry) (Action, error) {
	if e.Existed {
		return Restored, n.tree.Replace(p.file(), e.Before, 0o644)
	}
	if e.FolderMade {
		err := n.tree.RemoveFolder(p.dir(), hostsFile)
		if err == nil || !errors.Is(err, fs.ErrExist) {
			return Removed, err
		}
	}
	return Removed, n.tree.RemoveFile(p.file())
}

func (n *Node) keptFinding(p place) Finding {
	return Finding{
		Code: CodeEditedSince, Severity: Problem, Registry: registryOf(p.folder), File: p.file(),
		Message: fmt.Sprintf("%s was edited since, among Shoal's lines, and is left alone", p.file()),
		Remedy:  "take Shoal's lines out by hand, or run shoal containerd uninstall --force, which puts back the file as it was before Shoal and loses the edits",
	}
}
