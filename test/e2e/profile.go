package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// PrepareProfiled compiles the daemon with a way to profile it (testdata/profile). The
// checkout is not touched: the go command is shown one more file. A site that runs it as Tools.Shoal names the profiles
// with CPUPROFILE in ShoalEnv.
func PrepareProfiled(root, sandbox string) error {
	root, err := filepath.Abs(root)
	if err != nil {
		return err
	}
	return buildChanged(root, FindTools(root, sandbox).Profiled, map[string]string{
		filepath.Join(root, "cmd", "shoal", "profile.go"): filepath.Join(root, "test", "e2e", "testdata", "profile", "profile.go"),
	})
}

// BeginProfile makes a profiled daemon write down what its CPU does, until EndProfile.
func (d *Daemon) BeginProfile() {
	d.t.Helper()
	d.Signal(syscall.SIGUSR1)
}

// EndProfile ends what BeginProfile began, and waits for the file, whose name begins with
// prefix: the value of CPUPROFILE. The part counts the profiles of this daemon from 1.
func (d *Daemon) EndProfile(prefix string, part int) {
	d.t.Helper()
	d.Signal(syscall.SIGUSR2)
	name := fmt.Sprintf("%s-%d-%d.pprof", prefix, d.cmd.Process.Pid, part)
	Eventually(d.t, patience, "the profile "+name, func() error {
		_, err := os.Stat(name)
		return err
	})
}
