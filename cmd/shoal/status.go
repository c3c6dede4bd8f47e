package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/shoal-project/shoal/pkg/admin"
	"github.com/shoal-project/shoal/pkg/blob"
)

func (a *app) statusCommand() *cobra.Command {
	return viewCommand(a, &cobra.Command{
		Use:   "status",
		Short: "Show what the daemon of this node is doing",
		Long: `Shows this node: who it is, whether it is a member of a swarm, what it downloads now,
what it read from the registry, from peers and from its store since it started, and
what it was that the registry was spared; which peers are in quarantine and why; and
what an operator should see to.`,
		Example: `  shoal status
  shoal status --watch
  shoal status -o json | jq .traffic.registry_spared_bytes`,
	}, &view[admin.Status]{
		fetch: (*admin.Client).Status,
		draw:  drawStatus,
		made:  func(s admin.Status) time.Time { return s.Time },
	})
}

func drawStatus(p *page, s admin.Status) {
	p.heading("shoal " + clean(s.Version, wordMax) + " on " + clean(orDash(s.Node), wordMax))
	p.table("  ", nil, [][]string{
		{"peer ID", clean(orDash(s.PeerID), wordMax)},
		{"zone", clean(orDash(s.Zone), wordMax)},
		{"up", durationText(s.Time.Sub(s.StartedAt))},
		{"swarm", membershipText(s)},
		{"store", storeText(s.Store)},
	})
	drawWarnings(p, s.Warnings)
	drawDownloads(p, s)
	drawTraffic(p, s.Traffic)
	drawQuarantined(p, s)
}

func membershipText(s admin.Status) string {
	switch s.Membership {
	case admin.MembershipNoSecret:
		return "none: no secret was given, this node runs alone"
	case admin.MembershipAlone:
		return "alone: no other member is connected"
	case admin.MembershipJoined:
		return plural(s.Members, "other member")
	default:
		return clean(string(s.Membership), wordMax)
	}
}

func storeText(s admin.Store) string {
	text := plural(s.Blobs, "blob") + ", " + bytesText(s.Bytes)
	if s.MaxBytes > 0 {
		text += " of " + bytesText(s.MaxBytes)
	}
	if s.Partial > 0 {
		text += fmt.Sprintf(" (%d more in part)", s.Partial)
	}
	return text
}

func drawWarnings(p *page, warnings []admin.Warning) {
	if len(warnings) == 0 {
		return
	}
	p.heading("Warnings")
	for _, w := range warnings {
		p.text("  ! " + clean(w.Message, sentenceMax))
	}
}

func drawTraffic(p *page, t admin.Traffic) {
	p.heading("Since the start")
	p.table("  ", nil, [][]string{
		{"from the registry", sizeCell(bytesText(t.FromRegistry)), rateCell(rateText(t.RegistryRate))},
		{"from peers", sizeCell(bytesText(t.FromPeers)), rateCell(rateText(t.PeersRate))},
		{"from the store", sizeCell(bytesText(t.FromStore)), ""},
		{"to peers", sizeCell(bytesText(t.ToPeers)), rateCell(rateText(t.ToPeersRate))},
		{"to clients", sizeCell(bytesText(t.ToClients)), ""},
		{"the registry was spared", sizeCell(bytesText(t.RegistrySpared)), rateCell(sparedText(t))},
	})
}

// sparedText is the part of all content that did not have to be read from the registry.
func sparedText(t admin.Traffic) string {
	all := t.RegistrySpared + t.FromRegistry
	if all <= 0 {
		return ""
	}
	return fmt.Sprintf("%.1f %%", 100*float64(t.RegistrySpared)/float64(all))
}

func drawDownloads(p *page, s admin.Status) {
	p.heading(fmt.Sprintf("Downloads in progress: %d", len(s.Downloads)))
	if len(s.Downloads) == 0 {
		return
	}
	header := []string{
		"DIGEST", sizeCell("SIZE"), "", " DONE", rateCell("RATE"), timeCell("LEFT"),
		sizeCell("REGISTRY"), sizeCell("PEERS"), "FROM", "CLIENTS",
	}
	const bar = 2 // its column
	rows := make([][]string, len(s.Downloads))
	for i, d := range s.Downloads {
		rows[i] = []string{
			p.digest(d.Blob), sizeCell(bytesText(d.Size)), "", fmt.Sprintf("%3.0f %%", floorPercent(d)),
			rateCell(rateText(d.RegistryRate + d.PeersRate)), timeCell(leftText(d)),
			sizeCell(bytesText(d.FromRegistry)), sizeCell(bytesText(d.FromPeers)), plural(d.Peers, "peer"), fmt.Sprint(d.Clients),
		}
	}
	indent := "  "
	header, rows = p.fit(p.width-len(indent)-barMin, header, rows, "CLIENTS", "FROM", sizeCell("REGISTRY"), sizeCell("PEERS"))
	width := p.barWidth(len(indent) + widest(align(header, rows)))
	for i, d := range s.Downloads {
		rows[i][bar] = p.bar(d.Percent(), width)
	}
	p.table(indent, header, rows)
}

// floorPercent shows 100 only when all is there.
func floorPercent(d admin.Download) float64 { return float64(int(d.Percent())) }

// leftText is how long the rest takes at the rate of the moment.
func leftText(d admin.Download) string {
	rest, rate := d.Size-d.Have, blob.ByteCount(d.RegistryRate+d.PeersRate)
	if rate <= 0 || rest < 0 {
		return "-"
	}
	const longest = blob.ByteCount(100 * 24 * 60 * 60) // seconds
	return durationText(time.Duration(min(rest/rate, longest)) * time.Second)
}

func drawQuarantined(p *page, s admin.Status) {
	if len(s.Quarantined) == 0 {
		return
	}
	p.heading(fmt.Sprintf("Peers in quarantine: %d", len(s.Quarantined)))
	rows := make([][]string, len(s.Quarantined))
	for i, q := range s.Quarantined {
		rows[i] = []string{p.peer(q.PeerID), "for " + durationText(q.Until.Sub(s.Time)), clean(q.Reason, sentenceMax)}
	}
	p.table("  ", []string{"PEER", "STILL", "WHY"}, rows)
}
