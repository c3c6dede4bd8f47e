package containerd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"github.com/shoal-project/shoal/pkg/containerd/hostfs"
	"github.com/shoal-project/shoal/pkg/containerd/hoststoml"
)

// An InstallRequest says for which registries containerd is to ask Shoal.
type InstallRequest struct {
	// Registries as image names write them, or Default.
	Registries []string
	// Existing adds every registry that has a folder already.
	Existing bool
	// Enforce leaves no way around the mirror: a stopped daemon then means failed pulls.
	Enforce bool
}

// An Action is what was done about one registry.
type Action string

// The values of Action.
const (
	Created   Action = "created"
	Changed   Action = "changed"
	Unchanged Action = "unchanged"
	// Covered: Default asks Shoal for it already.
	Covered Action = "covered"
	// Restored: the file is byte for byte what it was before Shoal.
	Restored Action = "restored"
	// Removed: there was no file before Shoal.
	Removed Action = "removed"
	// Cut: the file was edited since, and only Shoal's lines were taken out.
	Cut Action = "cut"
	// Kept: the file was edited since in a way that leaves it to the operator.
	Kept Action = "kept"
	// Gone: others have taken Shoal's lines out.
	Gone Action = "gone"
)

// A Change is what was done about one registry. Its JSON is stable.
type Change struct {
	Registry string `json:"registry"`
	File     string `json:"file"`
	Action   Action `json:"action"`
}

// Changes are what a command did. Their JSON is stable.
type Changes struct {
	SchemaVersion int       `json:"schema_version"`
	Mirror        string    `json:"mirror"`
	Changes       []Change  `json:"changes"`
	Findings      []Finding `json:"findings"`
}

// Install puts the mirror in front of the hosts of the registries. All files are looked at
// before the first is changed. What is already as asked is not touched. It fails where
// containerd would not read the files.
func (n *Node) Install(ctx context.Context, request InstallRequest) (Changes, error) {
	done := Changes{SchemaVersion: SchemaVersion, Mirror: n.options.Mirror.URL(), Changes: []Change{}, Findings: []Finding{}}
	if err := n.readsHosts(); err != nil {
		return done, err
	}
	registries, err := n.wanted(request)
	if err != nil {
		return done, err
	}
	byRoot, changes, err := n.assign(registries, request.Enforce)
	if err != nil {
		return done, err
	}
	done.Changes = append(done.Changes, changes...)
	for _, root := range slices.Compact(slices.Clone(n.folders())) {
		if len(byRoot[root]) == 0 {
			continue
		}
		changes, findings, err := n.installAt(ctx, root, byRoot[root], request.Enforce)
		done.Changes = append(done.Changes, changes...)
		done.Findings = append(done.Findings, findings...)
		if err != nil {
			return done, err
		}
	}
	shadows, err := n.shadows(registries)
	done.Findings = append(done.Findings, shadows...)
	return done, err
}

// readsHosts fails where containerd would not read what is to be written.
func (n *Node) readsHosts() error {
	for _, f := range n.configFindings() {
		if f.Severity == Problem {
			return &RefusedError{Finding: f}
		}
	}
	return nil
}

// A RefusedError says why nothing was written.
type RefusedError struct{ Finding Finding }

func (e *RefusedError) Error() string { return e.Finding.Message + "; " + e.Finding.Remedy }

// wanted lists the registries asked for, each once.
func (n *Node) wanted(request InstallRequest) ([]string, error) {
	registries := slices.Clone(request.Registries)
	var errs []error
	for _, registry := range registries {
		errs = append(errs, CheckRegistry(registry))
	}
	if request.Existing {
		places, err := n.places()
		if err != nil {
			return nil, err
		}
		for _, p := range places {
			if CheckRegistry(registryOf(p.folder)) == nil {
				registries = append(registries, registryOf(p.folder))
			}
		}
	}
	slices.Sort(registries)
	registries = slices.Compact(registries)
	if len(registries) == 0 {
		errs = append(errs, errors.New("no registry is named"))
	}
	return registries, errors.Join(errs...)
}

// assign finds the folder for each registry, by root. A registry that Default serves is
// covered or refused: a folder of its own would hide what is there for it now.
func (n *Node) assign(registries []string, enforce bool) (byRoot map[string][]place, covered []Change, err error) {
	byRoot = map[string][]place{}
	roots := n.folders()
	defaulted := slices.Contains(registries, Default)
	for _, registry := range registries {
		p, found, err := n.find(registry)
		switch {
		case err != nil:
			return nil, nil, err
		case !found && registry == Default:
			root, err := n.lastRoot(roots)
			if err != nil {
				return nil, nil, err
			}
			p = place{root, Default}
		case !found:
			p = place{roots[0], ownFolders(registry)[0]}
		case !p.own() && registry != Default:
			if !defaulted && !n.asksShoal(p, enforce) {
				return nil, nil, fmt.Errorf("%s has no folder of its own and %s serves it, which a new folder would hide; use --registry %s", registry, p.file(), Default)
			}
			covered = append(covered, Change{Registry: registry, File: p.file(), Action: Covered})
			continue
		}
		byRoot[p.root] = append(byRoot[p.root], p)
	}
	return byRoot, covered, nil
}

// lastRoot is the last folder of folders that exists, else the first: behind it there is
// nothing that Default would hide.
func (n *Node) lastRoot(roots []string) (string, error) {
	for _, root := range slices.Backward(roots) {
		if exists, err := n.tree.Exists(root); exists || err != nil {
			return root, err
		}
	}
	return roots[0], nil
}

// asksShoal reports whether the hosts.toml of a folder asks the mirror first, or alone.
func (n *Node) asksShoal(p place, alone bool) bool {
	content, err := n.tree.ReadFile(p.file(), hoststoml.SizeMax)
	if err != nil {
		return false
	}
	f, err := hoststoml.Parse(content)
	if err != nil {
		return false
	}
	if alone {
		return len(f.Hosts) == 0 && n.options.Mirror.Is(f.Server)
	}
	return n.options.Mirror.Is(append(f.Hosts, f.Server)[0])
}

// installAt changes the files of one folder of folders, under its lock.
func (n *Node) installAt(ctx context.Context, root string, places []place, enforce bool) (_ []Change, _ []Finding, err error) {
	made, lock, err := n.lockMade(ctx, root)
	if err != nil {
		return nil, nil, explain(err)
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	known, err := readRecord(n.tree, root)
	if err != nil {
		return nil, nil, explain(err)
	}
	steps, findings, err := n.plan(places, known, enforce)
	if err != nil {
		return nil, nil, err
	}
	// Another may have filled the folder since, and left nothing to do but to say who made it.
	news := made && !known.FolderMade
	known.FolderMade = known.FolderMade || made
	changes, err := n.perform(root, steps, known, news)
	return changes, findings, explain(err)
}

// lockMade makes a folder of folders if it is missing, and takes it. An uninstall may
// remove it in between.
func (n *Node) lockMade(ctx context.Context, root string) (made bool, lock io.Closer, err error) {
	const tries = 10
	for range tries {
		made, err = n.tree.MakeAll(root)
		if err == nil {
			lock, err = n.tree.Lock(ctx, root)
		}
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrExist) {
			break
		}
	}
	return made, lock, err
}

// perform writes the record, if only for what is news in it, and then the files.
func (n *Node) perform(root string, steps []step, known record, news bool) ([]Change, error) {
	next, needed, prune := known, news, false
	for _, s := range steps {
		if s.needed {
			next, needed = next.with(s.entry), true
			prune = prune || len(s.entry.Written) > 1
		}
	}
	if needed {
		if err := next.write(n.tree, root); err != nil {
			return nil, err
		}
	}
	var changes []Change
	for _, s := range steps {
		change := Change{Registry: registryOf(s.place.folder), File: s.place.file(), Action: Unchanged}
		if s.needed {
			if err := n.put(s); err != nil {
				return changes, err
			}
			change.Action = Changed
			if s.missing {
				change.Action = Created
			}
			s.entry.Written = s.entry.Written[len(s.entry.Written)-1:]
			next = next.with(s.entry)
		}
		changes = append(changes, change)
	}
	if prune {
		return changes, next.write(n.tree, root)
	}
	return changes, nil
}

func (n *Node) put(s step) error {
	if s.entry.FolderMade && n.isFolderless(s.place) {
		return n.tree.MakeFolder(s.place.dir(), hostsFile, s.after)
	}
	return n.tree.Replace(s.place.file(), s.after, 0o644)
}

// explain says what to do about a disk that refuses.
func explain(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w; run this as root", err)
	case isReadOnly(err):
		return fmt.Errorf("%w; the file system is read-only: mount it writable, or put config_path elsewhere", err)
	case errors.Is(err, hostfs.ErrTooLarge), errors.Is(err, hostfs.ErrNotRegular):
		return fmt.Errorf("%w; move it away if it is not meant to be there", err)
	}
	return err
}
