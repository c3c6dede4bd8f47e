package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/shoal-project/shoal/pkg/admin"
	"github.com/shoal-project/shoal/pkg/config"
)

// serveArgs are flags with which serve touches nothing but the test's folder.
func serveArgs(t *testing.T, more ...string) []string {
	t.Helper()
	return append([]string{
		"serve", "--data-dir", t.TempDir(), "--listen", "127.0.0.1:0", "--metrics-listen", "",
		"--p2p-listen", "/ip4/127.0.0.1/tcp/0",
	}, more...)
}

func TestServeStopsOnSignal(t *testing.T) {
	for _, answer := range []error{nil, context.Canceled, errStopped} {
		var stderr bytes.Buffer
		a := &app{stdout: &bytes.Buffer{}, stderr: &stderr, exit: func(int) { t.Error("ended at once") }}
		a.start = func(ctx context.Context, _ config.Config, _ *slog.Logger) error {
			signalSelf(t, syscall.SIGTERM)
			<-ctx.Done()
			return answer
		}
		if code := a.run(t.Context(), serveArgs(t)); code != exitOK {
			t.Errorf("%v: exit code %d, %s", answer, code, &stderr)
		}
	}
}

func TestSecondSignalEndsAtOnce(t *testing.T) {
	exited := make(chan int)
	a := &app{stdout: &bytes.Buffer{}, stderr: &bytes.Buffer{}, exit: func(code int) { exited <- code }}
	a.start = func(ctx context.Context, _ config.Config, _ *slog.Logger) error {
		signalSelf(t, syscall.SIGINT)
		<-ctx.Done()
		signalSelf(t, syscall.SIGTERM) // a daemon that does not stop
		if code := <-exited; code != exitKilled {
			t.Errorf("exit code %d", code)
		}
		return nil
	}
	a.run(t.Context(), serveArgs(t))
}

func signalSelf(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(syscall.Getpid(), s); err != nil {
		t.Error(err)
	}
}

func TestServeHandsOnSettingsAndFailures(t *testing.T) {
	var stderr bytes.Buffer
	var got config.Config
	a := &app{stdout: &bytes.Buffer{}, stderr: &stderr, environment: map[string]string{"SHOAL_ZONE": "a"}}
	a.start = func(ctx context.Context, c config.Config, log *slog.Logger) error {
		got = c
		log.InfoContext(ctx, "quiet")
		log.WarnContext(ctx, "loud")
		return errors.New("the disk\x1b[2J is gone")
	}
	t.Chdir(t.TempDir())
	args := append(serveArgs(t, "--log-format", "json", "--log-level=warn", "--pprof"), "--data-dir", "below")
	if code := a.run(t.Context(), args); code != exitFailure {
		t.Errorf("exit code %d", code)
	}
	if got.Zone != "a" || !got.Pprof || !filepath.IsAbs(got.DataDir) || filepath.Base(got.DataDir) != "below" {
		t.Errorf("%+v", got)
	}
	text := stderr.String()
	for _, want := range []string{`"msg":"loud"`, `no p2p-secret-file is given: this node runs alone`, `shoal: the disk\x1b[2J is gone`} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in %s", want, text)
		}
	}
	if strings.Contains(text, "quiet") {
		t.Errorf("logged below the level: %s", text)
	}
}

// A screen is a terminal for tests: what is written to it can be waited for.
type screen struct {
	mu      sync.Mutex
	written strings.Builder
	change  chan struct{}
}

func newScreen() (*screen, *terminal) {
	s := &screen{change: make(chan struct{}, 1)}
	return s, &terminal{w: s, emphasis: true, size: func() (int, int) { return 60, 6 }}
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case s.change <- struct{}{}:
	default:
	}
	return s.written.Write(p)
}

func (s *screen) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.written.String()
}

func (s *screen) wait(t *testing.T, text string) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for !strings.Contains(s.text(), text) {
		select {
		case <-s.change:
		case <-deadline:
			written := s.text()
			t.Fatalf("no %q in %q...", text, written[:min(len(written), 2000)])
		}
	}
}

func TestWatchScreen(t *testing.T) {
	s, term := newScreen()
	a := &app{stderr: &bytes.Buffer{}, exit: func(int) {}}
	var round int
	next := func(context.Context) (frame, error) {
		round++
		switch round {
		case 2:
			return frame{}, &admin.UnreachableError{Socket: "x.sock"}
		case 3:
			return frame{made: noon, draw: func() []line { return []line{{text: "back"}} }}, nil
		}
		lines := []line{{text: "Heading", heading: true}, {text: strings.Repeat("w", 70)}}
		for range 8 {
			lines = append(lines, line{text: "more"})
		}
		return frame{made: noon, draw: func() []line { return lines }}, nil
	}
	ended := make(chan error, 1)
	go func() { ended <- a.watch(t.Context(), term, next, time.Millisecond) }()
	s.wait(t, "\x1b[?1049h")
	s.wait(t, "\x1b[1mHeading\x1b[0m\x1b[K\r\n"+strings.Repeat("w", 60)+"\x1b[K\r\n")
	s.wait(t, "Ctrl-C to leave (5 lines do not fit)")
	s.wait(t, "trying again: is shoal")
	s.wait(t, "\x1b[Hback\x1b[K\r\n\x1b[K\r\n")
	signalSelf(t, syscall.SIGINT)
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if !strings.HasSuffix(s.text(), "\x1b[?25h\x1b[?1049l") {
		t.Error("the screen is not restored")
	}
}

func TestWatchBlocksGoesOnAfterFailures(t *testing.T) {
	s, term := newScreen()
	term.size = nil
	var stderr bytes.Buffer
	a := &app{stderr: &stderr, exit: func(int) {}}
	var round int
	next := func(context.Context) (frame, error) {
		if round++; round == 2 {
			return frame{}, &admin.UnreachableError{Socket: "x.sock"}
		}
		return frame{made: noon, draw: func() []line { return []line{{text: strings.Repeat("round", round)}} }}, nil
	}
	ended := make(chan error, 1)
	go func() { ended <- a.watch(t.Context(), term, next, time.Millisecond) }()
	s.wait(t, "--- 2026-10-01T12:00:00Z\nround\n\n--- 2026-10-01T12:00:00Z\nroundroundround\n")
	signalSelf(t, syscall.SIGTERM)
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if !strings.Contains(stderr.String(), "looked at x.sock") {
		t.Errorf("standard error: %s", &stderr)
	}
}

func TestSpeaksUTF8(t *testing.T) {
	for want, environments := range map[bool][]map[string]string{
		true:  {{"LANG": "de_DE.UTF-8"}, {"LC_ALL": "C.utf8", "LANG": "C"}, {"LC_ALL": "", "LC_CTYPE": "en_US.UTF-8"}},
		false: {{}, {"LANG": "C"}, {"LC_ALL": "POSIX", "LANG": "de_DE.UTF-8"}},
	} {
		for _, e := range environments {
			if speaksUTF8(e) != want {
				t.Errorf("%v: not %v", e, want)
			}
		}
	}
}
