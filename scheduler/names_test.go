package scheduler_test

import (
	"fmt"
	"testing"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/scheduler"
)

// named tells a node of others, none of whom can be reached, so many times as many, and returns
// how many of them it tries. They are named by one member, or by the DHT if that is "".
func named(by scheduler.PeerID, times, each int) (tried int) {
	d := blob.Digest{1}
	m := scheduler.New(scheduler.Config{Self: "me"})
	var unreached []scheduler.PeerID
	step := func(ev scheduler.Event) {
		for _, action := range m.Step(0, ev) {
			if connect, ok := action.(scheduler.Connect); ok {
				unreached = append(unreached, connect.Peer)
			}
		}
	}
	step(scheduler.MembersCounted{Members: 10_000})
	step(scheduler.DownloadStarted{Blob: d, Size: blob.GiB})
	if by != "" {
		step(scheduler.PeerJoined{Blob: d, Peer: by})
	}
	for i := range times {
		names := make([]scheduler.PeerID, each)
		for j := range names {
			names[j] = scheduler.PeerID(fmt.Sprintf("nobody %d.%d", i, j))
		}
		if by == "" {
			step(scheduler.PeersFound{Blob: d, Peers: names})
		} else {
			step(scheduler.PeersTold{Blob: d, Peer: by, Peers: names})
		}
	}
	for ; tried < len(unreached); tried++ {
		step(scheduler.PeerLeft{Blob: d, Peer: unreached[tried], Why: scheduler.FaultTransient})
	}
	return tried
}

// Names that do not exist cost a node so many attempts, whoever names them.
func TestNamesAreBounded(t *testing.T) {
	const once, kept, connecting, boast = 64, 1024, 16, 16
	if got := named("", 1, 10*once); got != once {
		t.Errorf("of one message %d names are taken, want %d", got, once)
	}
	if got := named("", 2*kept/once, once); got != kept+connecting {
		t.Errorf("of many messages %d names are taken, want %d", got, kept+connecting)
	}
	if got := named("liar", 1, once); got != boast-1+connecting {
		t.Errorf("of one peer whose names cannot be reached %d are tried, want %d", got, boast-1+connecting)
	}
}

// One peer's names are a part of those that are remembered, so that they leave room for others'.
func TestOnePeersNamesLeaveRoom(t *testing.T) {
	const once, connecting = 64, 16
	d := blob.Digest{1}
	m := scheduler.New(scheduler.Config{Self: "me"})
	m.Step(0, scheduler.MembersCounted{Members: 10_000})
	m.Step(0, scheduler.DownloadStarted{Blob: d, Size: blob.GiB})
	m.Step(0, scheduler.PeerJoined{Blob: d, Peer: "liar"})
	for i := range 100 {
		names := make([]scheduler.PeerID, once)
		for j := range names {
			names[j] = scheduler.PeerID(fmt.Sprintf("nobody %d.%d", i, j))
		}
		m.Step(0, scheduler.PeersTold{Blob: d, Peer: "liar", Peers: names})
	}
	for _, v := range m.Blobs() {
		if v.Candidates > once {
			t.Errorf("%d candidates, want at most %d beside %d that are dialled", v.Candidates, once, connecting)
		}
	}
}
