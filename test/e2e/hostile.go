package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/test/e2e/liar"
)

// PrepareHostile compiles the daemon that lies, and the member that records what others send.
func PrepareHostile(root, sandbox string) error {
	tools, module := FindTools(root, sandbox), filepath.Join(root, "test", "e2e")
	if err := build(module, tools.Hostile, "./hostiled"); err != nil {
		return err
	}
	return build(module, tools.Recorder, "./recorder")
}

// StartHostile is StartShoal with a daemon that lies to its peers.
func (n *Node) StartHostile(mode liar.Mode) {
	n.lab.t.Helper()
	n.startDaemon([]string{n.lab.site.Tools.Hostile, "--hostile", mode.Name, "--truth", n.lab.Registry.blobs()})
}

// blobs is the folder in which the registry keeps every blob, as <ab>/<hex digest>/data.
func (r *Registry) blobs() string {
	return filepath.Join(r.lab.dir, "registry", "docker", "registry", "v2", "blobs", "sha256")
}

// Stored is the registry's own copy of a layer.
func (r *Registry) Stored(layer Layer) ([]byte, error) {
	d, err := blob.ParseDigest(layer.Digest)
	if err != nil {
		return nil, err
	}
	return os.ReadFile(filepath.Join(r.blobs(), d.Hex()[:2], d.Hex(), "data"))
}

// StopHostile stops a daemon that lies, and returns what it told each member, by peer ID. What it holds
// is its own business.
func (d *Daemon) StopHostile() map[string]liar.Told {
	d.t.Helper()
	if err := d.Process.Stop(); err != nil {
		d.t.Errorf("the end of %s: %v", d.Name, err)
	}
	all, listeners := make(map[string]liar.Told), -1
	for line := range strings.Lines(tail(d.log, 64<<10)) {
		var told liar.Told
		if json.Unmarshal([]byte(line), &told) == nil {
			all[told.Listener] = told
		} else if _, err := fmt.Sscanf(line, "listeners: %d", &listeners); err == nil {
			break
		}
	}
	if len(all) != listeners {
		d.t.Fatalf("%s says what it told %d members, and that there are %d", d.Name, len(all), listeners)
	}
	return all
}

// Sentences are what a daemon says of its quarantines.
type Sentences struct {
	Refused []string // peers that are in quarantine now, sorted
	All     []string // peers that ever were since the node's first daemon, one for each time
}

// metrics are the daemon's, as text.
func (d *Daemon) metrics() (string, error) {
	text, err := d.node.metrics(d.t.Context())
	if err != nil {
		return "", fmt.Errorf("the metrics of %s: %w", d.Name, err)
	}
	return text, nil
}

// Sentences reads them where an operator would, and returns an error while these places do not agree with each
// other: "shoal status" with shoal_quarantined_peer about who is refused, which ends with time, and the log
// with shoal_quarantines_total about how often anybody was.
func (d *Daemon) Sentences() (Sentences, error) {
	status, err := d.Status()
	if err != nil {
		return Sentences{}, err
	}
	metrics, err := d.metrics()
	if err != nil {
		return Sentences{}, err
	}
	log, err := os.ReadFile(d.log)
	if err != nil {
		return Sentences{}, err
	}
	s := Sentences{Refused: slices.Sorted(slices.Values(status.Accused())), All: sentencedIn(string(log))}
	refused, times := quarantinesIn(metrics)
	if !slices.Equal(s.Refused, refused) || len(s.All) != times {
		err = fmt.Errorf("%s has %q in quarantine by its status and %q by its metrics, and sentenced %q by its log, %d times by its metrics",
			d.Name, s.Refused, refused, s.All, times)
	}
	return s, err
}

// Audits is how many chunks the daemon read again from the registry since it was started, to tell who lied.
func (d *Daemon) Audits() (int, error) {
	metrics, err := d.metrics()
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(metrics) {
		if count, ok := strings.CutPrefix(strings.TrimSpace(line), "shoal_audits_total "); ok {
			return strconv.Atoi(count)
		}
	}
	return 0, fmt.Errorf("%s does not count its audits", d.Name)
}

// MustSentences waits until the daemon says the same everywhere.
func (d *Daemon) MustSentences() (s Sentences) {
	d.t.Helper()
	Eventually(d.t, patience, d.Name+" to say the same of its quarantines everywhere", func() (err error) {
		s, err = d.Sentences()
		return err
	})
	return s
}

// sentencedIn are the peers that a daemon's log says were put into quarantine.
func sentencedIn(log string) (peers []string) {
	for line := range strings.Lines(log) {
		if _, rest, ok := strings.Cut(line, ` msg="peer quarantined" peer=`); ok {
			peers = append(peers, strings.Fields(rest)[0])
		}
	}
	return peers
}

// quarantinesIn are the peers that metrics say are in quarantine, sorted, and how often any was put there.
func quarantinesIn(metrics string) (refused []string, times int) {
	for line := range strings.Lines(metrics) {
		var value float64
		name, count, _ := strings.Cut(strings.TrimSpace(line), "} ")
		if _, err := fmt.Sscan(count, &value); err != nil {
			continue
		}
		if peer, ok := strings.CutPrefix(name, `shoal_quarantined_peer{peer="`); ok {
			refused = append(refused, strings.TrimSuffix(peer, `"`))
		}
		if strings.HasPrefix(name, "shoal_quarantines_total{") {
			times += int(value)
		}
	}
	slices.Sort(refused)
	return refused, times
}
