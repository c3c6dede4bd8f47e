package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/shoal-project/shoal/pkg/admin"
)

func (a *app) layersCommand() *cobra.Command {
	return viewCommand(a, &cobra.Command{
		Use:   "layers",
		Short: "List the blobs this node has, whole or in part",
		Long: `Lists blobs (layers, configurations, manifests), the latest used first. A blob is
"proven" once all of it hashed to its digest. Before that, its chunks are counted by
state: R read from the registry by this node, V verified, Q from peers and waiting for
proof. Only R and V are given to anyone. What containerd keeps is not kept twice.`,
		Example: `  shoal layers
  shoal layers --watch
  shoal layers -o json | jq '[.layers[] | select(.state == "proven") | .size_bytes] | add'`,
	}, &view[admin.LayerList]{
		fetch: (*admin.Client).Layers,
		draw:  drawLayers,
		made:  func(l admin.LayerList) time.Time { return l.Time },
	})
}

func drawLayers(p *page, l admin.LayerList) {
	if len(l.Layers) == 0 {
		p.text("The store is empty.")
		return
	}
	header := []string{"DIGEST", sizeCell("SIZE"), "", "STATE", "SEEDERS", "LAST USED"}
	const bar = 2 // its column
	rows := make([][]string, len(l.Layers))
	for i, layer := range l.Layers {
		used := time.Time{}
		if layer.LastUsed != nil {
			used = *layer.LastUsed
		}
		rows[i] = []string{
			p.digest(layer.Blob), sizeCell(bytesText(layer.Size)), "", layerText(layer), fmt.Sprint(layer.Seeders), agoText(l.Time, used),
		}
	}
	header, rows = p.fit(p.width-barMin, header, rows, "SEEDERS", "LAST USED")
	width := p.barWidth(widest(align(header, rows)))
	for i, layer := range l.Layers {
		rows[i][bar] = p.bar(havePercent(layer), width)
	}
	p.table("", header, rows)
	drawTotal(p, len(l.Layers), l.Total, "blob")
}

func layerText(l admin.Layer) string {
	switch l.State {
	case admin.LayerProven:
		if l.Place == admin.PlaceContainerd {
			return "proven, in containerd"
		}
		return "proven"
	case admin.LayerPartial:
		c := l.Chunks
		return fmt.Sprintf("R %d  V %d  Q %d  of %d", c.Registry, c.Verified, c.Quarantined, c.Total)
	default:
		return clean(string(l.State), wordMax)
	}
}

// havePercent is the part of the chunks that is here, proven or not.
func havePercent(l admin.Layer) float64 {
	c := l.Chunks
	switch {
	case l.State == admin.LayerProven:
		return 100
	case c.Total <= 0:
		return 0
	default:
		return min(100, max(0, 100*float64(c.Registry+c.Verified+c.Quarantined)/float64(c.Total)))
	}
}
