package admin_test

import (
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shoal-project/shoal/pkg/admin"
)

func TestSocketIsPrivate(t *testing.T) {
	socket, _ := serve(t, &source{})
	info, err := os.Stat(socket)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("socket %v, %v", info.Mode(), err)
	}
	folder, err := os.Stat(filepath.Dir(socket))
	if err != nil || folder.Mode().Perm() != 0o755 {
		t.Errorf("folder %v, %v", folder.Mode(), err)
	}
}

func TestLiveSocketIsLeftAlone(t *testing.T) {
	socket, _ := serve(t, &source{status: admin.Status{Version: "first"}})
	_, err := admin.Listen(t.Context(), admin.Config{Socket: socket, Source: &source{}, Log: slog.New(slog.DiscardHandler)})
	if !errors.Is(err, admin.ErrRunning) || !strings.Contains(err.Error(), socket) {
		t.Fatalf("a second daemon: %v", err)
	}
	if status, err := client(t, socket).Status(t.Context()); err != nil || status.Version != "first" {
		t.Errorf("the first daemon: %+v, %v", status, err)
	}
}

func TestStaleSocketIsReplaced(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "shoal.sock")
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	listener.SetUnlinkOnClose(false) // as after a kill
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	serveAt(t, socket, &source{status: admin.Status{Version: "second"}})
	if status, err := client(t, socket).Status(t.Context()); err != nil || status.Version != "second" {
		t.Errorf("%+v, %v", status, err)
	}
}

func TestOnlySocketsAreReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "precious")
	if err := os.WriteFile(path, []byte("data"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := admin.Listen(t.Context(), admin.Config{Socket: path, Source: &source{}, Log: slog.New(slog.DiscardHandler)})
	if err == nil || !strings.Contains(err.Error(), "is not a socket") {
		t.Errorf("got %v", err)
	}
	if data, err := os.ReadFile(path); err != nil || string(data) != "data" {
		t.Errorf("the file: %q, %v", data, err)
	}
}

// A daemon that stops late does not take the socket of the one that followed it.
func TestStopLeavesAnotherDaemonsSocket(t *testing.T) {
	socket, stopFirst := serve(t, &source{})
	if err := os.Remove(socket); err != nil {
		t.Fatal(err)
	}
	serveAt(t, socket, &source{status: admin.Status{Version: "second"}})
	stopFirst()
	if status, err := client(t, socket).Status(t.Context()); err != nil || status.Version != "second" {
		t.Errorf("%+v, %v", status, err)
	}
}

func TestConfigIsChecked(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	for _, c := range []admin.Config{{Source: &source{}, Log: log}, {Socket: "s", Log: log}, {Socket: "s", Source: &source{}}} {
		if _, err := admin.Listen(t.Context(), c); err == nil {
			t.Errorf("%+v is accepted", c)
		}
	}
}
