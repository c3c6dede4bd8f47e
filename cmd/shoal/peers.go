package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/shoal-project/shoal/pkg/admin"
)

func (a *app) peersCommand() *cobra.Command {
	return viewCommand(a, &cobra.Command{
		Use:   "peers",
		Short: "List the other members this node is connected to",
		Long: `Lists the members that are connected now, the latest to join first: what came from
each (IN) and went to it (OUT), and how many asks it did not answer with a right chunk.`,
		Example: `  shoal peers
  shoal peers --no-trunc
  shoal peers -o json | jq '[.peers[] | select(.failures > 0)]'`,
	}, &view[admin.PeerList]{
		fetch: (*admin.Client).Peers,
		draw:  drawPeers,
		made:  func(l admin.PeerList) time.Time { return l.Time },
	})
}

func drawPeers(p *page, l admin.PeerList) {
	if len(l.Peers) == 0 {
		p.text("No other member is connected.")
		return
	}
	rows := make([][]string, len(l.Peers))
	for i, peer := range l.Peers {
		state := "member"
		if peer.QuarantinedUntil != nil {
			state = "quarantined for " + durationText(peer.QuarantinedUntil.Sub(l.Time))
		}
		rows[i] = []string{
			p.peer(peer.PeerID), clean(orDash(peer.Address), wordMax), clean(orDash(peer.Zone), wordMax), agoText(l.Time, peer.MemberSince),
			rateCell(rateText(peer.RateIn)), rateCell(rateText(peer.RateOut)),
			sizeCell(bytesText(peer.BytesIn)), sizeCell(bytesText(peer.BytesOut)), fmt.Sprint(peer.Failures), state,
		}
	}
	header := []string{
		"PEER", "ADDRESS", "ZONE", "JOINED", rateCell("IN"), rateCell("OUT"), sizeCell("ALL IN"), sizeCell("ALL OUT"), "FAILURES", "STATE",
	}
	header, rows = p.fit(p.width, header, rows, "JOINED", sizeCell("ALL OUT"), sizeCell("ALL IN"), "FAILURES", "ADDRESS", "ZONE")
	p.table("", header, rows)
	drawTotal(p, len(l.Peers), l.Total, "peer")
}

// drawTotal says so when the daemon listed only some.
func drawTotal(p *page, listed, total int, noun string) {
	if total > listed {
		p.text(fmt.Sprintf("%d of %s", listed, plural(total, noun)))
	}
}
