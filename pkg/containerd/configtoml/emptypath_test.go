package configtoml_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/api/services/introspection/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/shoal-project/shoal/pkg/containerd/configtoml"
)

// What containerd puts in place of an empty config_path is not in its config dump: it does so
// once it runs, and tells who asks.
func TestEmptyPathIsWhatContainerdSays(t *testing.T) {
	program := newestContainerd(t)
	if os.Geteuid() != 0 {
		t.Skip("containerd runs as root alone")
	}
	root := t.TempDir()
	main := filepath.Join(root, "config.toml")
	// Nothing that reaches out of the folder is started.
	const content = `version = 3
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.nri.v1.nri", "io.containerd.internal.v1.opt", "io.containerd.cri.v1.runtime"]
[plugins."io.containerd.cri.v1.images"]
  snapshotter = "native"
  discard_unpacked_layers = true
`
	if err := os.WriteFile(main, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := configtoml.Load(disk{}, main, configtoml.Newest)
	if err != nil || c.OlderPull == "" {
		t.Fatalf("%+v, %v", c, err)
	}
	says := runningPath(t, program, root, main)
	if got := fmt.Sprint(c.Folders()); got != fmt.Sprint(strings.Split(says, ":")) {
		t.Errorf("%s, containerd has %q", got, says)
	}
}

// runningPath starts containerd and asks it for the config_path that counts.
func runningPath(t *testing.T, program, root, main string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	socket := filepath.Join(root, "sock")
	command := exec.CommandContext(ctx, program, "--config", main, "--root", filepath.Join(root, "root"), "--state", filepath.Join(root, "state"), "--address", socket)
	command.Cancel = func() error { return command.Process.Signal(os.Interrupt) }
	command.WaitDelay = 10 * time.Second
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		cancel()
		_ = command.Wait()
	}()
	conn, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	request := &introspection.PluginsRequest{Filters: []string{"type==io.containerd.cri.v1,id==images"}}
	answer, err := introspection.NewIntrospectionClient(conn).Plugins(ctx, request, grpc.WaitForReady(true))
	if err != nil || len(answer.GetPlugins()) != 1 {
		t.Fatalf("%v, %v", answer, err)
	}
	return answer.GetPlugins()[0].GetExports()["RegistryConfigPath"]
}
