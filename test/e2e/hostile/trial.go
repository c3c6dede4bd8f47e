package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/shoal-project/shoal/test/e2e"
	"github.com/shoal-project/shoal/test/e2e/liar"
	"github.com/shoal-project/shoal/test/e2e/scope"
)

const (
	// recorderRate is the recorder's link while the pulls run: what it takes of the nodes' links is
	// in honest runs too.
	recorderRate = "20mbit"
	// recorderRateAfter is its link afterwards.
	recorderRateAfter = "1gbit"
	// pullWithin is how long a pull may take before it counts as failed.
	pullWithin = 90 * time.Second
	// sightWithin is how long the recorder may take for what it has not seen when the pulls are over, and
	// nodes for what they find out last.
	sightWithin = 45 * time.Second
)

// A trial is one run. It belongs to the goroutine that runs it; what fails ends that.
type trial struct {
	*scope.Scope
	opts     options
	mode     liar.Mode
	lab      *e2e.Lab
	result   *result
	liars    []*e2e.Node
	honest   []*e2e.Node
	recorder *e2e.Recorder
	ids      map[*e2e.Node]string // peer IDs
	named    map[string]bool      // liars that an honest node has had in quarantine, by peer ID
}

// run has all nodes pull at the same moment, and checks what the honest ones got, served and found out.
func (t *trial) run() {
	t.addNodes()
	image := t.lab.Registry.PushPlain("image", t.opts.layerSizes()...)
	t.start(image)
	t.arm(image)
	t.lab.Registry.Forget()
	t.pull(image)
	t.measureEgress(image)
	t.recorder.Shape(recorderRateAfter, recorderRateAfter)
	for _, n := range t.honest {
		n.CheckDigests(image.Tagged, image)
	}
	t.countSentences() // some may be over soon
	t.awaitRecords()
	t.awaitSentences(t.countLies())
}

// addNodes makes nodes, and lets each containerd pull a trifle, so that it has set up what it
// sets up once. Then it gives them and the registry their links. The first ones lie: others
// know those from their list of first contacts.
func (t *trial) addNodes() {
	trifle := t.lab.Registry.PushPlain("trifle", 1<<10)
	t.lab.Registry.Shape(t.opts.rate)
	for i := range t.opts.nodes {
		n := t.lab.AddNode(e2e.NoMirror)
		n.MustPull(trifle.Tagged)
		n.SetMirror(e2e.MirrorOnly)
		n.Shape(t.opts.rate, t.opts.rate)
		if i < t.result.Colluders {
			t.liars = append(t.liars, n)
		} else {
			t.honest = append(t.honest, n)
		}
	}
}

// start starts all daemons and the recorder, and waits until everybody knows everybody.
func (t *trial) start(image e2e.Image) {
	for _, n := range t.liars {
		n.StartHostile(t.mode)
	}
	for _, n := range t.honest {
		n.StartShoal()
	}
	t.recorder = t.lab.StartRecorder(image)
	t.recorder.Shape(recorderRate, recorderRate)
	all := slices.Concat(t.liars, t.honest)
	t.ids, t.named = make(map[*e2e.Node]string), make(map[string]bool)
	for _, n := range all {
		n.AwaitMembers(len(all)) // the recorder is one of the others
		t.ids[n] = n.Daemon().MustStatus().PeerID
	}
}

// arm has liars that answer for themselves pull the image before the others: what they read
// for themselves would take the registry's link from those, with Shoal or without.
func (t *trial) arm(image e2e.Image) {
	if !t.mode.Answers() {
		return
	}
	for _, n := range t.liars {
		n.MustPull(image.Tagged)
	}
}

// pull pulls on every node at once that has not, and waits for the honest ones.
func (t *trial) pull(image e2e.Image) {
	ctx, cancel := context.WithTimeout(t.Context(), pullWithin)
	t.Cleanup(cancel)
	for _, n := range t.liars {
		if t.mode.Answers() {
			break
		}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_, _ = n.PullImage(ctx, image.Tagged, nil) // whether a liar gets its image is its own business
		}()
		t.Cleanup(func() { <-ended })
	}
	var (
		pulls sync.WaitGroup
		mu    sync.Mutex
	)
	for _, n := range t.honest {
		pulls.Go(func() {
			took, err := n.PullImage(ctx, image.Tagged, nil)
			mu.Lock()
			defer mu.Unlock()
			t.result.Seconds = max(t.result.Seconds, took.Seconds())
			if err == nil {
				t.result.PullsOK++
			}
		})
	}
	pulls.Wait()
	t.result.Pulls = len(t.honest)
}

// measureEgress takes what the registry sent to honest nodes by now.
func (t *trial) measureEgress(image e2e.Image) {
	t.Logf("---- what reached the registry ----\n%s", t.lab.Registry.Journal())
	var sent int64
	for _, n := range t.honest {
		sent += t.lab.Registry.Bytes(e2e.Blobs, e2e.From(n.Address))
		audits, err := n.Daemon().Audits()
		if err != nil {
			t.Fatal(err)
		}
		t.result.Audits += audits
	}
	t.result.EgressImages = float64(sent) / float64(image.Size())
}

// awaitRecords waits until the recorder has seen every chunk of every honest node, and counts.
func (t *trial) awaitRecords() {
	e2e.Eventually(t, sightWithin, "the recorder to see everything", func() error {
		seen, err := t.recorder.Recorded()
		if err != nil {
			return err
		}
		wrong, chunks, chains := int64(0), 0, 0
		for _, n := range t.honest {
			record := seen[t.ids[n]]
			wrong += record.WrongBytes
			chunks += record.Chunks
			chains += record.Chains
			if !record.Complete {
				err = fmt.Errorf("%s has sent it %d chunks", n.Name, record.Chunks)
			}
		}
		t.result.WrongBytesServed, t.result.Recorded, t.result.Chains = wrong, chunks, chains
		return err
	})
}

// countLies stops the liars, so that no lie comes later, and counts what they told honest nodes: what the recorder
// was told, who asks everybody for everything, says nothing. It returns the liars that told any.
func (t *trial) countLies() (liars []*e2e.Node) {
	for _, l := range t.liars {
		told, lies := l.Daemon().StopHostile(), int64(0)
		for _, n := range t.honest {
			heard := told[t.ids[n]]
			t.Logf("%s told %s: %d claims, %d answers, %d chunks", l.Name, n.Name, heard.Claims, heard.Answers, heard.Chunks)
			lies += t.mode.Lies(heard)
		}
		if t.result.LiesTold += lies; lies > 0 {
			liars = append(liars, l)
		}
	}
	return liars
}

// awaitSentences waits, where their lies can be proven, for liars to be named by an honest node.
func (t *trial) awaitSentences(liars []*e2e.Node) {
	deadline := time.Now().Add(sightWithin)
	for {
		t.countSentences()
		t.result.Unnamed = 0
		for _, l := range liars {
			if !t.named[t.ids[l]] {
				t.result.Unnamed++
			}
		}
		if !t.mode.Bound.Proven || t.result.Unnamed == 0 || time.Now().After(deadline) {
			return
		}
		t.pass(100 * time.Millisecond)
	}
}

// countSentences counts the peers that honest nodes have in quarantine, and how often they put one there.
func (t *trial) countSentences() {
	others := make(map[string]bool)
	t.result.Sentences, t.result.Unexplained = 0, 0
	for _, n := range t.honest {
		said := n.Daemon().MustSentences()
		t.result.Sentences += len(said.All)
		for _, p := range said.All {
			if !t.liar(p) {
				t.result.Unexplained++
			}
		}
		for _, p := range said.Refused {
			if t.liar(p) {
				t.named[p] = true
			} else {
				others[p] = true
			}
		}
	}
	t.result.Quarantined, t.result.HonestQuarantined = len(t.named), len(others)
}

// liar reports whether a peer ID is a liar's.
func (t *trial) liar(id string) bool {
	return slices.ContainsFunc(t.liars, func(l *e2e.Node) bool { return t.ids[l] == id })
}

// pass lets time pass.
func (t *trial) pass(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.Context().Done():
	}
}
