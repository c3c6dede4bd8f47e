package sim

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"slices"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/scheduler"
)

// tries is among how many names a liar looks for those that weigh most. A thousand members are
// outweighed with fewer.
const tries = 1 << 14

// groundNames are names of peers that do not exist, chosen so that every node takes them for the
// first readers and verifiers of the layer: whoever can make up names knows the hash, too.
func (d *disk) groundNames() []scheduler.PeerID {
	if d.ground == nil {
		type name struct {
			id     scheduler.PeerID
			weight uint64
		}
		names := make([]name, tries)
		for k := range names {
			id := scheduler.PeerID(fmt.Sprintf("ground%d-%d", d.node.number, k))
			names[k] = name{id, weight(d.digest(), id)}
		}
		slices.SortFunc(names, func(a, b name) int { return cmp.Compare(b.weight, a.weight) })
		for _, x := range names[:ghosts] {
			d.ground = append(d.ground, x.id)
		}
	}
	return d.ground
}

// weight is a member's weight for a whole blob: as the Machines work it out, which
// TestGroundNamesComeFirst holds against one.
func weight(d blob.Digest, id scheduler.PeerID) uint64 {
	h := fnv.New64a()
	_, _ = h.Write(d[:]) // a hash never fails to write
	_, _ = h.Write([]byte(id))
	return mix(h.Sum64()-golden-golden, 0)
}
