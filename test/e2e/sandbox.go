package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// prefix begins the name of every folder and cgroup that a run makes outside its namespaces.
const prefix = "shoal-e2e-"

// sandboxVariable carries the sandbox's folder to the process inside it.
const sandboxVariable = "E2E_SANDBOX"

// SandboxDir is the folder of the sandbox that this process is in, or "" outside.
func SandboxDir() string {
	return os.Getenv(sandboxVariable) //nolint:forbidigo // how a process is told that it is the inner one
}

// InSandbox calls run inside a sandbox and returns the exit code that run returned. For
// that it starts this program once more, which has to come to the same call. Before, and
// outside, where there may be a network, it calls prepare with the sandbox's folder.
func InSandbox(prepare func(dir string) error, run func() int) (int, error) {
	if SandboxDir() != "" {
		if err := enterSandbox(); err != nil {
			return 1, err
		}
		return run(), nil
	}
	s, err := newSandbox()
	if err != nil {
		return 1, err
	}
	code := 1
	if err = prepare(s.dir); err == nil {
		code, err = s.run()
	}
	if err = errors.Join(err, s.close()); err != nil {
		code = max(code, 1)
	}
	return code, err
}

// A sandbox is the folder that belongs to one run, for what must lie on a real file
// system: programs, content stores, snapshots, logs.
type sandbox struct {
	dir  string
	lock *os.File
}

// newSandbox makes the folder and removes those of runs that crashed. The folder is
// locked for as long as this process lives, which is how a crashed run is told from
// a running one.
func newSandbox() (*sandbox, error) {
	parent, err := lockFolder(os.TempDir(), unix.LOCK_EX)
	if err != nil {
		return nil, err
	}
	defer func() { _ = parent.Close() }()
	removeLeftovers(os.TempDir())
	dir, err := os.MkdirTemp("", prefix)
	if err != nil {
		return nil, fmt.Errorf("making the sandbox's folder: %w", err)
	}
	lock, err := lockFolder(dir, unix.LOCK_EX)
	if err != nil {
		return nil, err
	}
	return &sandbox{dir: dir, lock: lock}, nil
}

// close removes the folder and the cgroups named after it.
func (s *sandbox) close() error {
	removeCgroups(filepath.Base(s.dir))
	err := os.RemoveAll(s.dir)
	return errors.Join(err, s.lock.Close())
}

// run starts this program again inside new namespaces, with the same arguments, and
// returns its exit code once it and everything it started is gone.
func (s *sandbox) run() (int, error) {
	cmd := exec.CommandContext(context.Background(), "/proc/self/exe", os.Args[1:]...) //nolint:gosec // this program
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), sandboxVariable+"="+s.dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS,
		Pdeathsig:  syscall.SIGKILL,
	}
	// The signal comes when the starting thread ends, so this thread must not.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	defer signal.Stop(signals)
	if err := cmd.Start(); err != nil {
		return 1, fmt.Errorf("starting the sandbox: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case sig := <-signals:
			forward(cmd.Process, sig)
		case err := <-ended:
			exit := (*exec.ExitError)(nil)
			switch {
			case !errors.As(err, &exit):
				return 0, err
			case !exit.Exited():
				return 1, fmt.Errorf("ended by %w: everything that it started is gone", err)
			}
			return exit.ExitCode(), nil
		}
	}
}

// forward passes sig on. SIGQUIT is what the go command sends at a timeout, and
// leaves the process alive to print its stacks; the others end it at once.
func forward(p *os.Process, sig os.Signal) {
	if sig == syscall.SIGQUIT {
		_ = p.Signal(sig)
		return
	}
	_ = p.Kill()
}

// enterSandbox prepares the namespaces for the process that run started: private
// mounts, a /proc that matches the new pid namespace, an empty /run that hides the
// machine's own sockets, loopback up.
func enterSandbox() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("making mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mounting /proc: %w", err)
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755"); err != nil {
		return fmt.Errorf("mounting /run: %w", err)
	}
	return command("ip", "link", "set", "lo", "up")
}

func lockFolder(dir string, how int) (*os.File, error) {
	f, err := os.Open(dir) //nolint:gosec // a folder of this program's
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), how); err != nil {
		return nil, errors.Join(fmt.Errorf("locking %s: %w", dir, err), f.Close())
	}
	return f, nil
}

// removeLeftovers deletes the folders under dir that no living run has locked.
func removeLeftovers(dir string) {
	left, _ := filepath.Glob(filepath.Join(dir, prefix+"*"))
	for _, name := range left {
		lock, err := lockFolder(name, unix.LOCK_EX|unix.LOCK_NB)
		if err != nil {
			continue // its run is alive
		}
		removeCgroups(filepath.Base(name))
		_ = os.RemoveAll(name)
		_ = lock.Close()
	}
}

// removeCgroups deletes the cgroups of containers that belonged to the run called
// name, under either version of cgroups.
func removeCgroups(name string) {
	for _, pattern := range []string{"/sys/fs/cgroup/", "/sys/fs/cgroup/*/"} {
		groups, _ := filepath.Glob(pattern + name + "*")
		for _, group := range groups {
			_ = os.Remove(group)
		}
	}
}

// command runs a program to its end and returns what it said when it fails.
func command(name string, args ...string) error {
	out, err := exec.CommandContext(context.Background(), name, args...).CombinedOutput() //nolint:gosec // a program that the lab is made with
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
