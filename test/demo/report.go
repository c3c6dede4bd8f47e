package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"text/tabwriter"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/test/fleet"
)

// bars shows one progress bar a node, or nothing where the output is no terminal.
type bars struct {
	progress *mpb.Progress
	bars     []*mpb.Bar
}

func newBars(nodes int, size blob.ByteCount) *bars {
	if !term.IsTerminal(int(os.Stdout.Fd())) {
		return &bars{}
	}
	b := &bars{progress: mpb.New(mpb.WithWidth(44))}
	for i := range nodes {
		b.bars = append(b.bars, b.progress.AddBar(int64(size),
			mpb.PrependDecorators(decor.Name("node "+strconv.Itoa(i+1)+" ", decor.WCSyncSpaceR)),
			mpb.AppendDecorators(decor.Percentage(decor.WC{W: 5}), decor.CountersKibiByte("  % .0f / % .0f")),
		))
	}
	return b
}

// advance returns what moves the bar of node i.
func (b *bars) advance(i int) func(bytes int) {
	if b.progress == nil {
		return nil
	}
	return func(n int) { b.bars[i].IncrBy(n) }
}

func (b *bars) done() {
	if b.progress == nil {
		return
	}
	for _, bar := range b.bars {
		bar.Abort(false) // completes nothing that is complete
	}
	b.progress.Wait()
	say("")
}

// report prints the table. Every byte in it was hashed when it came out of a proxy.
func report(w io.Writer, results []result, img fleet.Image, out fleet.Egress) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprint(table, "NODE\tSECONDS\tMiB FROM REGISTRY\tMiB FROM PEERS\tLAYERS PROVEN\t\n")
	for _, r := range results {
		traffic := r.seen.Status.Traffic
		_, _ = fmt.Fprintf(table, "%d\t%.2f\t%.1f\t%.1f\t%d/%d\t\n", r.node, r.seconds,
			mib(traffic.FromRegistry), mib(traffic.FromPeers), r.seen.Proven(img), len(img.Layers()))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	total := float64(out.Bytes) / float64(img.Size())
	_, err := fmt.Fprintf(w, "\nThe registry sent %.1f MiB for an image of %.1f MiB: %.2f x the image (without Shoal: %d x).\n"+
		"Every byte that came out of every proxy hashed to its digest.\n",
		mib(blob.ByteCount(out.Bytes)), mib(img.Size()), total, len(results))
	return err
}

func mib(n blob.ByteCount) float64 { return float64(n) / float64(blob.MiB) }
