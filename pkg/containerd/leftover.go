package containerd

import (
	"errors"
	"path"

	"github.com/shoal-project/shoal/pkg/containerd/hostfs"
)

// libFolder is what all folders of content are in, and has been there before.
const libFolder = "/var/lib"

// RemoveEmptyContent removes, from the machine whose file tree is under root, the folders of
// containerd's content in which nothing is, and those above them that are empty then. A
// containerd that runs has something in its own: an empty one was made by a kubelet for a
// pod that mounts it, where containerd keeps its content elsewhere. Where there is none, an
// empty folder that would be above it is somebody else's, and stays.
func RemoveEmptyContent(root string) (err error) {
	tree, err := hostfs.Open(root)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tree.Close()) }()
	for _, f := range flavors() {
		if exists, existsErr := tree.Exists(f.content); existsErr != nil || !exists {
			err = errors.Join(err, existsErr)
			continue // what is empty above it is none of a pod's
		}
		for folder := f.content; folder != libFolder; folder = path.Dir(folder) {
			err = errors.Join(err, removeUnlinked(tree, folder))
		}
	}
	return err
}

// removeUnlinked removes an empty folder, unless a link leads to it: somebody made that.
func removeUnlinked(tree *hostfs.Tree, folder string) error {
	exists, err := tree.Exists(folder)
	if err != nil || !exists {
		return err
	}
	actual, _, err := tree.Resolve(folder)
	if err != nil || actual != folder {
		return err
	}
	return tree.RemoveEmpty(folder)
}
