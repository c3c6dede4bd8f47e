package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Recorded is what a recorder saw of one peer by now.
type Recorded struct {
	PeerID     string `json:"peer_id"`
	Chunks     int    `json:"chunks"`      // whole ones, whatever was in them
	Chains     int    `json:"chains"`      // whatever their states were
	WrongBytes int64  `json:"wrong_bytes"` // bytes that are not the blob's, or not its chain's
	Complete   bool   `json:"complete"`    // it sent every chunk of every blob
}

// A Recorder is a member of its own, with its own network: it asks every other member for all
// chunks of an image, and compares them, and the chains that it gets, with the truth.
type Recorder struct {
	*Process

	lab    *Lab
	number int
	report string // file
}

// StartRecorder starts a recorder for the layers of an image. It needs PrepareHostile.
func (l *Lab) StartRecorder(image Image) *Recorder {
	l.t.Helper()
	l.nodes++
	r := &Recorder{lab: l, number: l.nodes}
	l.plug(r.number)
	name := fmt.Sprintf("n%d-recorder", r.number)
	r.report = filepath.Join(l.dir, name+".json")
	layers := make([]string, 0, len(image.Layers))
	for _, layer := range image.Layers {
		layers = append(layers, layer.Digest)
	}
	r.Process = l.Start(name, l.net.netns(r.number), slices.Concat([]string{
		l.site.Tools.Recorder, "--secret", l.Secret('5'), "--listen", "/ip4/0.0.0.0/tcp/" + p2pPort,
		"--bootstrap", strings.Join(l.bootstrap(), ","), "--truth", l.Registry.blobs(), "--out", r.report,
	}, layers)...)
	return r
}

// Shape limits the recorder's network, as Node.Shape.
func (r *Recorder) Shape(send, receive string) {
	r.lab.t.Helper()
	r.lab.shape(r.number, send, receive)
}

// bootstrap is as behind a headless Service: the list names the node itself, and nodes that
// are not up.
func (l *Lab) bootstrap() []string {
	contacts := make([]string, 0, 3)
	for number := 1; number <= cap(contacts); number++ {
		contacts = append(contacts, net.JoinHostPort(l.net.address(l.net.host(number)), p2pPort))
	}
	return contacts
}

// Recorded returns what was seen of every peer by now, by peer ID.
func (r *Recorder) Recorded() (map[string]Recorded, error) {
	text, err := os.ReadFile(r.report)
	if err != nil {
		return nil, fmt.Errorf("the recorder's report: %w", err)
	}
	var all []Recorded
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, fmt.Errorf("the recorder's report: %w", err)
	}
	byPeer := make(map[string]Recorded)
	for _, seen := range all {
		byPeer[seen.PeerID] = seen
	}
	return byPeer, nil
}
