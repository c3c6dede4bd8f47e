package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/test/fleet"
)

const (
	servedSize = 256 * blob.MiB
	firstBytes = 200 // requests for the time to the first byte
)

// measureServing gets a proven blob from a node and the same file from nginx, in turns.
func measureServing(ctx context.Context, opts options, dir string, reg *fleet.Registry) error {
	dir = filepath.Join(dir, "serving")
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // nginx's workers read it
		return err
	}
	img, err := reg.Push(ctx, 1, servedSize)
	if err != nil {
		return err
	}
	nodes, err := fleet.Start(ctx, fleet.Config{Binary: opts.shoal, Dir: dir, Nodes: 1, Upstream: reg.URL, Alone: true})
	if err != nil {
		return err
	}
	defer nodes.Stop()
	node := nodes.Nodes[0]
	if _, err := node.Pull(ctx, img, nil); err != nil {
		return err
	}
	if err := nodes.AwaitProven(ctx, img); err != nil {
		return err
	}
	layer := img.Layers()[0]
	stored := filepath.Join(node.Dir, "data", "blobs", "sha256", layer.Digest.Hex())
	nginx, stop, err := startNginx(ctx, opts.nginx, dir, stored)
	if err != nil {
		return err
	}
	defer stop()
	shoal := "http://" + node.Listen + "/v2/" + fleet.Repository + "/blobs/" + layer.Digest.String() + "?ns=" + fleet.RegistryName
	var whole, first [2][]float64
	for range opts.runs {
		for side, url := range []string{shoal, nginx} {
			took, err := get(ctx, url, servedSize)
			if err != nil {
				return err
			}
			whole[side] = append(whole[side], float64(servedSize)/float64(blob.MiB)/took.Seconds())
		}
	}
	for range firstBytes {
		for side, url := range []string{shoal, nginx} {
			took, err := get(ctx, url, 1)
			if err != nil {
				return err
			}
			first[side] = append(first[side], float64(took.Microseconds()))
		}
	}
	say("\n## A proven blob of %d MiB, beside nginx serving the same file (medians)\n", servedSize/blob.MiB)
	say("| | Shoal | nginx | ratio |\n| --- | --- | --- | --- |")
	a, b := quantile(whole[0], 0.5), quantile(whole[1], 0.5)
	say("| whole blob, one connection, MiB/s (n=%d) | %.0f | %.0f | %.2f |", opts.runs, a, b, a/b)
	for _, q := range []float64{0.5, 0.99} {
		a, b := quantile(first[0], q), quantile(first[1], q)
		say("| GET to first byte, p%.0f, µs (n=%d) | %.0f | %.0f | %.2f |", 100*q, firstBytes, a, b, a/b)
	}
	return nil
}

// get reads n bytes of the body and says how long that took from the request on.
func get(ctx context.Context, url string, n blob.ByteCount) (time.Duration, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, err
	}
	start := time.Now()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("get %s: %s", url, resp.Status)
	}
	buf := make([]byte, min(n, 256*blob.KiB))
	for left := n; left > 0; {
		read, err := io.ReadFull(resp.Body, buf[:min(left, blob.ByteCount(len(buf)))])
		if err != nil {
			return 0, fmt.Errorf("get %s: %w", url, err)
		}
		left -= blob.ByteCount(read)
	}
	return time.Since(start), nil
}

// startNginx serves the file with sendfile and returns its URL.
func startNginx(ctx context.Context, binary, dir, file string) (url string, stop func(), err error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	addr := listener.Addr().String()
	if err := listener.Close(); err != nil {
		return "", nil, err
	}
	root := filepath.Join(dir, "www")
	if err := os.MkdirAll(root, 0o755); err != nil { //nolint:gosec // nginx's workers read it
		return "", nil, err
	}
	if err := os.Link(file, filepath.Join(root, "blob")); err != nil {
		return "", nil, err
	}
	conf := filepath.Join(dir, "nginx.conf")
	text := fmt.Sprintf("user root; daemon off; worker_processes 1; pid %s/nginx.pid; error_log %s/nginx.log;\n"+
		"events {}\nhttp { access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000; server { listen %s; root %s; } }\n",
		dir, dir, addr, root)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		return "", nil, err
	}
	cmd := exec.CommandContext(ctx, binary, "-c", conf) //nolint:gosec // named by whoever measures
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return "", nil, fmt.Errorf("start nginx (apt-get install nginx): %w", err)
	}
	stop = func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	}
	dialer := &net.Dialer{Timeout: 10 * time.Second}
	for {
		conn, err := dialer.DialContext(ctx, "tcp", addr)
		if err == nil {
			return "http://" + addr + "/blob", stop, conn.Close()
		}
		if ctx.Err() != nil {
			stop()
			return "", nil, context.Cause(ctx)
		}
	}
}

func quantile(values []float64, q float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}
