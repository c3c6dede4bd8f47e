package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// A Process is a daemon that a lab started. It leads a process group of its own, so
// that what it starts ends with it. Its methods may be called from several goroutines.
type Process struct {
	Name string // unique in its lab

	t      T
	cmd    *exec.Cmd
	log    string // file that holds what it wrote
	exited chan struct{}
	err    error // why it ended, valid once exited is closed
}

// Start runs argv as a daemon of the lab in the network namespace netns, or in the
// lab's own when that is empty. What it writes is appended to a file; the lab prints it when
// the test fails.
func (l *Lab) Start(name, netns string, argv ...string) *Process {
	l.t.Helper()
	if netns != "" {
		// Not "ip netns exec": that remounts /sys, which hides the cgroups.
		argv = append([]string{"nsenter", "--net=/run/netns/" + netns, "--"}, argv...)
	}
	log := filepath.Join(l.dir, name+".log")
	out, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600) //nolint:gosec // the lab's own file
	if err != nil {
		l.t.Fatalf("starting %s: %v", name, err)
	}
	defer func() { _ = out.Close() }()
	// It outlives the T's context: what cleans up may still need it.
	cmd := exec.CommandContext(context.WithoutCancel(l.t.Context()), argv[0], argv[1:]...) //nolint:gosec // a daemon of the lab
	cmd.Stdout, cmd.Stderr = out, out
	// Without the SHOAL_ variables of whoever runs the tests.
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "SHOAL_") })
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		l.t.Fatalf("starting %s: %v", name, err)
	}
	p := &Process{Name: name, t: l.t, cmd: cmd, log: log, exited: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		close(p.exited)
	}()
	l.logs[name] = log
	l.t.Cleanup(p.Kill)
	return p
}

// Kill ends the process and its group with SIGKILL and waits until it is gone. A process
// that has ended already is left as it is.
func (p *Process) Kill() {
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	<-p.exited
}

// Signal sends a signal to the process itself. One that has ended gets none.
func (p *Process) Signal(sig os.Signal) { _ = p.cmd.Process.Signal(sig) }

// Stop asks the process to end with SIGTERM, as a service manager would, and returns
// its exit error. One that has not ended in time fails the test.
func (p *Process) Stop() error {
	p.t.Helper()
	p.Signal(syscall.SIGTERM)
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	select {
	case <-p.exited:
		return p.err
	case <-deadline.C:
		p.Kill()
		p.t.Fatalf("%s did not end within %v of SIGTERM", p.Name, patience)
		return nil
	}
}

// Await waits until ready returns nil, and fails the test if the process ends before.
func (p *Process) Await(ready func(context.Context) error) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	defer cancel()
	Eventually(p.t, patience, p.Name+" to be ready", func() error {
		select {
		case <-p.exited:
			p.t.Fatalf("%s ended before it was ready: %v", p.Name, p.err)
		default:
		}
		return ready(ctx)
	})
}

// tail returns the end of a log file, at most n bytes of it.
func tail(name string, n int64) string {
	f, err := os.Open(name) //nolint:gosec // the lab's own file
	if err != nil {
		return err.Error()
	}
	defer func() { _ = f.Close() }()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err.Error()
	}
	data, err := io.ReadAll(io.NewSectionReader(f, max(0, size-n), n))
	if err != nil && !errors.Is(err, io.EOF) {
		return err.Error()
	}
	if size > n {
		return fmt.Sprintf("[the first %d bytes left out]\n%s", size-n, data)
	}
	return string(data)
}
