package containerd_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/shoal-project/shoal/pkg/containerd"
)

// asNobody runs f as a user who owns nothing, on a thread that ends with it.
func asNobody(t *testing.T, m *machine, f func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root becomes another user")
	}
	for dir := m.root; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread goes
		if err := unix.Setfsuid(65534); err != nil {
			t.Error(err)
			return
		}
		f()
	}()
	<-done
}

// Whoever may read hosts.toml, and no more, can tell; changes say who may make them.
func TestAsAnotherUser(t *testing.T) {
	m := configured(t, files{certsDir + "/docker.io/hosts.toml": companyToml})
	m.install("docker.io")
	before := m.snapshot()
	o := m.options()
	asNobody(t, m, func() {
		if look, err := containerd.LookAt(t.Context(), o); !look.Effective || err != nil {
			t.Errorf("%+v, %v", look, err)
		}
		n, err := containerd.Open(o)
		if err != nil {
			t.Error(err)
			return
		}
		_, uninstallErr := n.Uninstall(t.Context(), containerd.UninstallRequest{})
		_, installErr := n.Install(t.Context(), containerd.InstallRequest{Registries: []string{"quay.io"}})
		for _, err := range []error{uninstallErr, installErr} {
			if !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "run this as root") {
				t.Error(err)
			}
		}
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	if d := differences(before, m.snapshot()); d != nil {
		t.Error(d)
	}
	if err := os.Chmod(m.path(mainFile), 0o600); err != nil {
		t.Fatal(err)
	}
	asNobody(t, m, func() {
		if _, err := containerd.LookAt(t.Context(), o); !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), mainFile) {
			t.Error(err)
		}
	})
}
