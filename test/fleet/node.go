package fleet

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/shoal-project/shoal/pkg/admin"
)

// A Node is one daemon.
type Node struct {
	Number int    // from 1
	Listen string // HOST:PORT of its proxy
	Dir    string

	admin *admin.Client
	cmd   *exec.Cmd
	gone  chan struct{} // closed when the process ended
	err   error         // how it ended; read after gone
}

// Seen is what a daemon said of itself at one moment.
type Seen struct {
	Status admin.Status
	Layers admin.LayerList
}

func newNode(number int, dir, listen string) *Node {
	return &Node{
		Number: number, Listen: listen, Dir: dir,
		admin: admin.NewClient(filepath.Join(dir, "shoal.sock")),
		gone:  make(chan struct{}),
	}
}

// start starts the process. It dies with its parent, however that ends.
func (n *Node) start(ctx context.Context, binary string, args []string) error {
	if err := os.MkdirAll(n.Dir, 0o700); err != nil {
		return fmt.Errorf("node %d: %w", n.Number, err)
	}
	log, err := os.Create(n.logFile())
	if err != nil {
		return fmt.Errorf("node %d: %w", n.Number, err)
	}
	defer func() { _ = log.Close() }() // the process has its own descriptor
	args = append([]string{
		"serve", "--data-dir", filepath.Join(n.Dir, "data"), "--admin-socket", filepath.Join(n.Dir, "shoal.sock"),
	}, args...)
	n.cmd = exec.CommandContext(context.WithoutCancel(ctx), binary, args...) //nolint:gosec // our own binary
	n.cmd.Stdout, n.cmd.Stderr = log, log
	n.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := n.cmd.Start(); err != nil {
		n.cmd = nil
		return fmt.Errorf("node %d: start %s: %w", n.Number, binary, err)
	}
	go func() {
		n.err = n.cmd.Wait()
		close(n.gone)
	}()
	return nil
}

func (n *Node) logFile() string { return filepath.Join(n.Dir, "log") }

// PID is the daemon's process.
func (n *Node) PID() int { return n.cmd.Process.Pid }

// See asks the daemon about itself.
func (n *Node) See(ctx context.Context) (Seen, error) {
	status, err := n.admin.Status(ctx)
	if err != nil {
		return Seen{}, fmt.Errorf("node %d: %w", n.Number, err)
	}
	layers, err := n.admin.Layers(ctx)
	if err != nil {
		return Seen{}, fmt.Errorf("node %d: %w", n.Number, err)
	}
	return Seen{Status: status, Layers: layers}, nil
}

// poll is how often a daemon is asked again while something is awaited.
const poll = 25 * time.Millisecond

// Await asks the daemon until ready says so. It fails when the process ends or ctx does.
func (n *Node) Await(ctx context.Context, what string, ready func(Seen) bool) error {
	ticker := time.NewTicker(poll)
	defer ticker.Stop()
	for {
		seen, err := n.See(ctx)
		if err == nil && ready(seen) {
			return nil
		}
		select {
		case <-ticker.C:
		case <-n.gone:
			return fmt.Errorf("node %d ended while waiting for %s (%w): %s", n.Number, what, n.err, n.lastWords())
		case <-ctx.Done():
			return fmt.Errorf("node %d: waiting for %s: %w", n.Number, what, context.Cause(ctx))
		}
	}
}

func (n *Node) awaitAnswer(ctx context.Context) error {
	return n.Await(ctx, "its first answer", func(Seen) bool { return true })
}

// lastWords are the last lines of the daemon's log.
func (n *Node) lastWords() string {
	text, err := os.ReadFile(n.logFile())
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-3):], " | ")
}

func (n *Node) terminate() {
	if n.cmd != nil {
		_ = n.cmd.Process.Signal(syscall.SIGTERM) // an error means that it is gone
	}
}

// wait waits for the process, and kills it and its children when it takes too long.
func (n *Node) wait() {
	n.admin.Close()
	if n.cmd == nil {
		return
	}
	timer := time.NewTimer(stopWait)
	defer timer.Stop()
	select {
	case <-n.gone:
	case <-timer.C:
		_ = syscall.Kill(-n.PID(), syscall.SIGKILL)
		<-n.gone
	}
}
