package containerd_test

import (
	"context"
	"errors"
	"maps"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shoal-project/shoal/pkg/containerd"
	"github.com/shoal-project/shoal/pkg/containerd/hoststoml"
)

const internalHosts = certsDir + "/internal.example/hosts.toml"

// A kept machine is one with a Keep at work. All its methods are called in one bubble.
type kept struct {
	*machine
	mu    sync.Mutex
	down  error // what Shoal's answer is
	told  []string
	stop  context.CancelFunc
	ended chan error
}

func keep(t *testing.T, m *machine, down error, enforce bool) *kept {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	k := &kept{machine: m, down: down, stop: stop, ended: make(chan error, 1)}
	mirror, err := hoststoml.ParseMirror("127.0.0.1:6050")
	if err != nil {
		t.Fatal(err)
	}
	request := containerd.KeepRequest{
		Install: containerd.InstallRequest{Registries: []string{"docker.io"}, Existing: true, Enforce: enforce},
		Ask:     func(context.Context, hoststoml.Mirror) error { return k.answer() },
		Tell: func(c containerd.Changes, err error) {
			k.mu.Lock()
			defer k.mu.Unlock()
			if err != nil {
				k.told = append(k.told, err.Error())
			}
			for _, change := range c.Changes {
				k.told = append(k.told, change.Registry+" "+string(change.Action))
			}
		},
	}
	go func() { k.ended <- containerd.Keep(ctx, containerd.Options{Root: m.root, Mirror: mirror}, request) }()
	return k
}

func (k *kept) answer() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.down
}

func (k *kept) set(down error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.down = down
}

// after lets time pass, and returns what was told meanwhile.
func (k *kept) after(d time.Duration) string {
	time.Sleep(d)
	synctest.Wait()
	k.mu.Lock()
	defer k.mu.Unlock()
	told := strings.Join(k.told, ", ")
	k.told = nil
	return told
}

func (k *kept) end() (string, error) {
	k.stop()
	err := <-k.ended
	return k.after(0), err
}

func wantTold(t *testing.T, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("told %q, want %q", got, want)
	}
}

func TestKeepInstallsWhenShoalAnswersAndTakesOutInTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := configured(t, files{internalHosts: "server = \"https://internal.example\"\n"})
		before := m.snapshot()
		k := keep(t, m, errors.New("refused"), false)
		wantTold(t, k.after(time.Hour), "refused")
		if !maps.Equal(before, m.snapshot()) {
			t.Error("it changed something before Shoal answered")
		}
		k.set(nil)
		wantTold(t, k.after(time.Second), "docker.io created, internal.example changed")
		wantTold(t, k.after(time.Hour), "")
		k.set(errors.New("refused"))
		wantTold(t, k.after(time.Hour), "refused")
		if !strings.Contains(m.read(internalHosts), "127.0.0.1:6050") {
			t.Error("it was taken out because Shoal is down for a while")
		}
		told, err := k.end()
		wantTold(t, told, "docker.io removed, internal.example restored")
		if err != nil || !maps.Equal(before, m.snapshot()) {
			t.Errorf("%v; before %v, after %v", err, before, m.snapshot())
		}
	})
}

// k3s writes its files anew at each start, and people make mistakes.
func TestKeepInstallsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := keep(t, configured(t), nil, false)
		wantTold(t, k.after(time.Second), "docker.io created")
		k.remove(certsDir + "/docker.io")
		wantTold(t, k.after(time.Minute), "docker.io created")
		k.write(mainFile, "version = 3\n")
		if told := k.after(time.Minute); !strings.Contains(told, "config_path") || strings.Contains(told, ", config_path") {
			t.Errorf("told %q", told)
		}
		k.write(mainFile, setting)
		wantTold(t, k.after(time.Minute), "")
		if _, err := k.end(); err != nil {
			t.Error(err)
		}
	})
}

func TestKeepLeavesWhatIsEnforced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := keep(t, configured(t), nil, true)
		wantTold(t, k.after(time.Second), "docker.io created")
		during := k.snapshot()
		k.set(containerd.ErrSilent)
		wantTold(t, k.after(time.Hour), containerd.ErrSilent.Error())
		told, err := k.end()
		wantTold(t, told, "")
		if err != nil || !maps.Equal(during, k.snapshot()) {
			t.Errorf("%v, %v", err, k.snapshot())
		}
	})
}

// A stranger where Shoal should be is worse than nobody: what answers everything is taken for
// a registry, and what never answers holds pulls up.
func TestKeepLeadsNobodyToAStranger(t *testing.T) {
	for name, stranger := range map[string]error{
		"strange": &containerd.StrangerError{URL: "http://127.0.0.1:6050", Status: 200},
		"silent":  containerd.ErrSilent,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := configured(t, files{internalHosts: "server = \"https://internal.example\"\n"})
				before := m.snapshot()
				k := keep(t, m, nil, false)
				wantTold(t, k.after(time.Second), "docker.io created, internal.example changed")
				k.set(stranger)
				wantTold(t, k.after(11*time.Second), stranger.Error()+", docker.io removed, internal.example restored")
				if !maps.Equal(before, m.snapshot()) {
					t.Errorf("before %v, after %v", before, m.snapshot())
				}
				wantTold(t, k.after(time.Hour), "")
				k.set(nil)
				wantTold(t, k.after(time.Second), "docker.io created, internal.example changed")
				wantTold(t, k.after(time.Hour), "")
				if _, err := k.end(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// One answer that does not come may be a busy moment.
func TestKeepWaitsTwiceForAnAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := configured(t)
		k := keep(t, m, nil, false)
		wantTold(t, k.after(time.Second), "docker.io created")
		during := m.snapshot()
		for range 3 {
			k.set(containerd.ErrSilent)
			told := ""
			for told == "" { // until it was asked once
				told = k.after(100 * time.Millisecond)
			}
			wantTold(t, told, containerd.ErrSilent.Error())
			k.set(nil)
			wantTold(t, k.after(time.Minute), "")
		}
		if !maps.Equal(during, m.snapshot()) {
			t.Errorf("%v", m.snapshot())
		}
		if _, err := k.end(); err != nil {
			t.Error(err)
		}
	})
}

// An install that came only half of the way is taken out as well.
func TestKeepTakesOutAHalf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := configured(t)
		k := keep(t, m, containerd.ErrSilent, false)
		wantTold(t, k.after(time.Minute), containerd.ErrSilent.Error())
		k.write(mainFile, "version = 3\n") // and now it cannot install
		k.set(nil)
		if told := k.after(time.Minute); !strings.Contains(told, "config_path") {
			t.Errorf("told %q", told)
		}
		k.write(mainFile, setting)
		m.install("docker.io") // what it may have done before it failed
		k.set(containerd.ErrSilent)
		wantTold(t, k.after(time.Minute), containerd.ErrSilent.Error()+", docker.io removed")
		if _, err := k.end(); err != nil {
			t.Error(err)
		}
	})
}

// What a killed keep left leads to a stranger, too, who took the port before Shoal started again.
func TestKeepTakesOutWhatTheLastLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := configured(t)
		m.install("docker.io")
		k := keep(t, m, errors.New("refused"), false)
		wantTold(t, k.after(time.Hour), "refused")
		k.set(containerd.ErrSilent)
		wantTold(t, k.after(time.Second), containerd.ErrSilent.Error()+", docker.io removed")
		if _, err := k.end(); err != nil {
			t.Error(err)
		}
	})
}
