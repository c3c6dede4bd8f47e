package containerd

import (
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"strings"

	"github.com/shoal-project/shoal/pkg/containerd/configtoml"
	"github.com/shoal-project/shoal/pkg/containerd/hostfs"
	"github.com/shoal-project/shoal/pkg/containerd/hoststoml"
)

const hostsFile = "hosts.toml"

// Options say which containerd is meant, and where Shoal is.
type Options struct {
	// Root is where the machine's file tree is; "/" unless set.
	Root string
	// ConfigFile is containerd's main configuration file on that machine. Empty finds it.
	ConfigFile string
	// HostsDir is the folder of the registries' folders. Empty takes what containerd's
	// configuration says.
	HostsDir string
	// Release is whose rules of reading the configuration count.
	Release configtoml.Release
	// Mirror is where Shoal's proxy answers.
	Mirror hoststoml.Mirror
}

// A Node is one machine with its containerd. Close it.
type Node struct {
	tree    *hostfs.Tree
	options Options
	flavor  flavor
	// config is what containerd makes of its configuration. It is not read where HostsDir
	// is set.
	config configtoml.Config
	// configErr is why containerd would not start with it.
	configErr *configtoml.FileError
}

// Open reads containerd's configuration. It fails when it cannot be read; that it is wrong
// is for Check to say.
func Open(o Options) (*Node, error) {
	if o.Root == "" {
		o.Root = "/"
	}
	tree, err := hostfs.Open(o.Root)
	if err != nil {
		return nil, err
	}
	n := &Node{tree: tree, options: o}
	if err := n.readConfig(); err != nil {
		return nil, errors.Join(err, tree.Close())
	}
	return n, nil
}

// Close releases the machine's files.
func (n *Node) Close() error { return n.tree.Close() }

func (n *Node) readConfig() error {
	for _, name := range []string{n.options.ConfigFile, n.options.HostsDir} {
		if name != "" && !path.IsAbs(name) {
			return fmt.Errorf("%s is not an absolute name on the machine", name)
		}
	}
	if n.options.HostsDir != "" {
		return nil
	}
	var err error
	if n.flavor, err = n.findFlavor(); err != nil {
		return err
	}
	main := n.flavor.config
	n.config, err = configtoml.Load(source{n.tree}, main, n.options.Release)
	if wrong, ok := errors.AsType[*configtoml.FileError](err); ok {
		n.configErr = wrong
		return nil
	}
	if err != nil {
		return fmt.Errorf("read containerd's configuration: %w", explain(err))
	}
	if n.config.Missing && n.options.ConfigFile != "" {
		return fmt.Errorf("containerd's configuration %s does not exist", main)
	}
	if n.config.Missing && n.flavor.generated() {
		return n.readTemplate()
	}
	return nil
}

// Socket is where containerd answers, as this process sees it.
func (n *Node) Socket() string {
	socket := n.flavor.socket
	if n.config.Socket != "" {
		socket = n.config.Socket
	}
	if socket == "" { // HostsDir: nothing was looked for
		socket = plain("").socket
	}
	return filepath.Join(n.options.Root, socket)
}

// folders are where registries' folders are looked for, in order; none where containerd
// does not look.
func (n *Node) folders() []string {
	if n.options.HostsDir != "" {
		return []string{path.Clean(n.options.HostsDir)}
	}
	return n.config.Folders()
}

// A source reads containerd's configuration from the machine.
type source struct{ tree *hostfs.Tree }

func (s source) ReadFile(name string) ([]byte, error) {
	return s.tree.ReadFile(name, configtoml.SizeMax)
}

func (s source) Glob(pattern string) ([]string, error) { return s.tree.Glob(pattern) }

// A place is where containerd finds the hosts of a registry.
type place struct {
	// root is the folder of folders, folder the name in it.
	root, folder string
}

func (p place) dir() string  { return path.Join(p.root, p.folder) }
func (p place) file() string { return path.Join(p.root, p.folder, hostsFile) }

// own reports whether the folder is the registry's own rather than everybody's.
func (p place) own() bool { return p.folder != Default }

// find looks for a registry's folder as containerd does: the first that exists, a whole
// root before the next.
func (n *Node) find(registry string) (p place, found bool, err error) {
	names := ownFolders(registry)
	if registry != Default {
		names = append(names, Default)
	}
	for _, root := range n.folders() {
		for _, name := range names {
			p := place{root, name}
			exists, err := n.tree.Exists(p.dir())
			if err != nil {
				return place{}, false, err
			}
			if exists {
				return p, true, nil
			}
		}
	}
	return place{}, false, nil
}

// places are all folders of registries, in the order of lookup.
func (n *Node) places() ([]place, error) {
	var all []place
	for _, root := range n.folders() {
		places, err := n.placesIn(root)
		if err != nil {
			return nil, err
		}
		all = append(all, places...)
	}
	return all, nil
}

// placesIn are the folders of registries in one folder of folders, which may be missing.
func (n *Node) placesIn(root string) ([]place, error) {
	exists, err := n.tree.Exists(root)
	if err != nil || !exists {
		return nil, err
	}
	names, err := n.tree.ReadDir(root)
	if err != nil {
		return nil, err
	}
	var all []place
	for _, name := range names {
		if !strings.HasPrefix(name, ".") && n.tree.IsDir(path.Join(root, name)) {
			all = append(all, place{root, name})
		}
	}
	return all, nil
}
