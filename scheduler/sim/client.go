package sim

import (
	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/scheduler"
)

// heldBack is what a client never gets of a blob before its proof.
const heldBack = 64 * blob.KiB

// A client waits for one blob at one node. It reads R bytes from the front as they come,
// and the rest once the blob is proven.
type client struct {
	front blob.ChunkIndex // chunks before it were given
	cut   bool            // the engine ended the body: what was given turned out wrong
	first scheduler.Time  // when the first byte came before the proof; 0: none did
}

func (c *client) ask(d *disk) {
	*c = client{}
	d.node.step(scheduler.ClientAsked{Blob: d.digest()})
	c.advance(d)
}

// advance gives the client what is R in a row, or everything that is left of a proven blob.
func (c *client) advance(d *disk) {
	for c.front < d.n && (d.proven || d.cells[c.front].origin == fromRegistry) {
		if d.proven || d.layer.geometry.Offset(c.front) < d.layer.geometry.Size()-heldBack {
			d.node.checkGiven(d, c.front)
			if !d.proven && c.first == 0 {
				c.first = d.node.w.now
			}
		}
		c.front++
	}
}

// audited cuts the body if bytes that were given are now others.
func (c *client) audited(d *disk, i blob.ChunkIndex, same bool) {
	if i < c.front && !same {
		c.cut = true
	}
	c.advance(d)
}
