package e2e

import (
	"fmt"
	"os"
	"path/filepath"
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

// StopHostile stops a daemon that lies, and returns how many lies it told: none means that
// nothing was tested.
func (d *Daemon) StopHostile() int64 {
	d.t.Helper()
	if err := d.Stop(); err != nil {
		d.t.Errorf("the end of %s: %v", d.Name, err)
	}
	const sentence = "lies told: "
	for line := range strings.Lines(tail(d.log, 4<<10)) {
		count, ok := strings.CutPrefix(strings.TrimSpace(line), sentence)
		if told, err := strconv.ParseInt(count, 10, 64); ok && err == nil {
			return told
		}
	}
	d.t.Fatalf("%s does not say how many lies it told", d.Name)
	return 0
}

// Quarantines is how often the daemon has put a peer into quarantine, as its metrics say.
func (d *Daemon) Quarantines() (int, error) {
	metrics, err := d.node.metrics(d.t.Context())
	if err != nil {
		return 0, fmt.Errorf("the metrics of %s: %w", d.Name, err)
	}
	sum := 0.0
	for line := range strings.Lines(metrics) {
		if !strings.HasPrefix(line, "shoal_quarantines_total{") {
			continue
		}
		fields := strings.Fields(line)
		value, err := strconv.ParseFloat(fields[len(fields)-1], 64)
		if err != nil {
			return 0, fmt.Errorf("the metrics of %s: %w", d.Name, err)
		}
		sum += value
	}
	return int(sum), nil
}
