package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// A holding is what a daemon holds of things that leak.
type holding struct {
	goroutines  int
	doing       map[string]int // how many goroutines began in each function
	descriptors int            // without those that a blob in memory takes
}

// within reports whether h is no more than other.
func (h holding) within(other holding) bool {
	return h.goroutines <= other.goroutines && h.descriptors <= other.descriptors
}

func (h holding) String() string {
	return fmt.Sprintf("%d goroutines, %d descriptors", h.goroutines, h.descriptors)
}

// holds counts what the daemon holds now. A file of a blob counts from the third time on that it is
// open: twice it is while the blob is in memory, as what was downloaded and as what is served. That
// lasts for five minutes after its last use, and is bounded by engine.Config.MaxHeld.
func (d *Daemon) holds(ctx context.Context) (holding, error) {
	var h holding
	profile, err := d.inside(ctx, "/debug/pprof/goroutine?debug=1")
	if err != nil {
		return h, err
	}
	// Not go_goroutines of /metrics: whoever gathers those is counted, more or fewer as it happens.
	if _, err := fmt.Sscanf(profile, "goroutine profile: total %d", &h.goroutines); err != nil {
		return h, fmt.Errorf("the profile of %s does not say how many goroutines there are: %w", d.Name, err)
	}
	h.doing = beginnings(profile)
	open, err := d.open()
	h.descriptors = len(open)
	return h, err
}

// perBlobFile is how often a file of one blob is open while the blob is in memory.
const perBlobFile = 2

// open lists the daemon's descriptors, as proc(5) names them, but those of blobs in memory.
func (d *Daemon) open() ([]string, error) {
	dir := fmt.Sprintf("/proc/%d/fd", d.cmd.Process.Pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	seen := map[string]int{}
	for _, e := range entries {
		name, err := os.Readlink(filepath.Join(dir, e.Name()))
		switch {
		case errors.Is(err, fs.ErrNotExist): // closed meanwhile
		case err != nil:
			return nil, err
		case !d.ofBlob(name) || seen[name] == perBlobFile:
			names = append(names, name)
		default:
			seen[name]++
		}
	}
	return names, nil
}

// ofBlob reports whether a file is one of a blob in the daemon's store, or in containerd's content.
func (d *Daemon) ofBlob(name string) bool {
	if strings.HasPrefix(name, d.node.contentFolder()+"/blobs/") {
		return true
	}
	in, ok := strings.CutPrefix(name, filepath.Join(d.node.dir, "shoal")+"/")
	folder, _, _ := strings.Cut(in, "/")
	return ok && (folder == "blobs" || folder == "partial" || folder == "chains")
}

// inside asks the daemon's metrics port.
func (d *Daemon) inside(ctx context.Context, path string) (string, error) {
	answer, err := d.node.get(ctx, "http://"+metricsAddress+path, nil)
	if err != nil {
		return "", err
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(answer.Body, 4*MiB))
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", path, answer.Status)
	}
	return string(text), err
}

// Stop is Process.Stop of a daemon that nobody uses any more: it holds nothing then (checkLeaks). Its node
// has its network back afterwards. For one that is in use there is Process.Stop.
func (d *Daemon) Stop() error {
	d.t.Helper()
	d.checkLeaks()
	return errors.Join(d.Process.Stop(), d.node.lab.net.replug(d.node.Number))
}

// checkLeaks cuts whatever is connected with the daemon, its peers, the registry and its
// containerd, and waits until it holds no more than when it had just been started: then it was
// looking for peers, which takes some goroutines that are not there now.
func (d *Daemon) checkLeaks() {
	d.t.Helper()
	select {
	case <-d.exited:
		return // checked by then, or ended in the middle of its work
	default:
	}
	if err := d.node.isolate(); err != nil {
		d.t.Fatalf("isolating %s: %v", d.node.Name, err)
	}
	ctx := context.WithoutCancel(d.t.Context())
	Eventually(d.t, patience, d.Name+" to let go of what it took", func() error {
		now, err := d.holds(ctx)
		if err != nil || now.within(d.atStart) {
			return err
		}
		return d.leaked(now)
	})
}

// leaked says what the daemon still holds.
func (d *Daemon) leaked(now holding) error {
	open, err := d.open()
	var more []string
	for _, name := range slices.Sorted(maps.Keys(now.doing)) {
		if was := d.atStart.doing[name]; now.doing[name] > was {
			more = append(more, fmt.Sprintf("%s: %d instead of %d", name, now.doing[name], was))
		}
	}
	return errors.Join(fmt.Errorf("it holds %v, at first %v: %q\n%s", now, d.atStart, open, strings.Join(more, "\n")), err)
}

// beginnings counts the goroutines of a profile by the function that each began with: the last line
// of its stack, before an empty one.
func beginnings(profile string) map[string]int {
	counts := map[string]int{}
	for block := range strings.SplitSeq(profile, "\n\n") {
		lines := strings.Split(strings.TrimSpace(block), "\n")
		for len(lines) > 0 && !strings.Contains(lines[0], " @ ") {
			lines = lines[1:]
		}
		if len(lines) < 2 {
			continue
		}
		n, err := strconv.Atoi(strings.Fields(lines[0])[0])
		if fields := strings.Fields(lines[len(lines)-1]); err == nil && len(fields) > 2 {
			counts[fields[2]] += n
		}
	}
	return counts
}
