package e2e

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Once the daemon has stopped for good, pulls go to the registry: with nothing on its port,
// and with whatever else has taken that (P2). The check tells the two apart.
func TestPortIsTaken(t *testing.T) {
	lab := NewLab(t)
	node := lab.AddNode(WithFallback)
	node.StartShoal()
	if code, said := node.check(); code != 0 {
		t.Fatalf("with the daemon: exit code %d, %s", code, said)
	}
	if err := node.Daemon().Stop(); err != nil {
		t.Fatal(err)
	}
	if code, said := node.check(); code != 3 {
		t.Errorf("without the daemon: exit code %d, %s", code, said)
	}
	for name, serve := range map[string]func(net.Conn){
		"by one that hangs up":            func(net.Conn) {},
		"by one that speaks another word": says("SSH-2.0-OpenSSH_10.0\r\n"),
		"by one that has no such page":    says("HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\nConnection: close\r\n\r\nnone"),
		"by one that forbids":             says("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
		"by one that is broken":           says("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
	} {
		t.Run(name, func(t *testing.T) {
			stop := node.takePort(serve)
			defer stop()
			if code, said := node.check(); code != 4 && code != 3 {
				t.Errorf("exit code %d, %s", code, said)
			}
			image := lab.Registry.Push("taken-"+strings.ReplaceAll(name, " ", "-"), MiB)
			node.MustPull(image.Tagged)
			node.Check(image.Tagged, image)
		})
	}
}

func says(text string) func(net.Conn) {
	return func(c net.Conn) {
		_, _ = http.ReadRequest(bufio.NewReader(c)) // or the answer would be cut by RST
		_, _ = c.Write([]byte(text))
	}
}

// takePort serves every connection to the mirror's address, and closes it then, until stop is
// called. One that is still served then is closed all the same.
func (n *Node) takePort(serve func(net.Conn)) (stop func()) {
	t := n.lab.t
	t.Helper()
	listener, err := listenIn(t.Context(), n.netns(), mirrorAddress)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			served := make(chan struct{})
			all.Go(func() {
				defer close(served)
				serve(c)
			})
			all.Go(func() {
				select {
				case <-served:
				case <-ended:
				}
				_ = c.Close()
			})
		}
	})
	return func() {
		_ = listener.Close()
		close(ended)
		all.Wait()
	}
}

// What takes the port and answers everything is taken for a registry, and what never answers
// holds pulls up. Beside a keep they get no pull for long, and Shoal has them back after.
func TestPortIsTakenBesideKeep(t *testing.T) {
	lab := NewLab(t)
	node := lab.AddNode(NoMirror)
	before := node.Hosts()
	node.Start("keep", lab.site.Tools.Shoal, "containerd", "keep", "--containerd-config", filepath.Join(node.dir, "containerd.toml"),
		"--registry", lab.Registry.Host, "--listen", mirrorAddress)
	for name, serve := range map[string]func(net.Conn){
		"by one that never answers": func(c net.Conn) { _, _ = io.Copy(io.Discard, c) },
		"by one that agrees":        says("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
	} {
		t.Run(name, func(t *testing.T) {
			node.StartShoal()
			Eventually(t, patience, "pulls to go through Shoal", func() error {
				if code, said := node.check(); code != 0 {
					return errors.New(said)
				}
				return nil
			})
			if err := node.Daemon().Stop(); err != nil {
				t.Fatal(err)
			}
			stop := node.takePort(serve)
			defer stop()
			Eventually(t, patience, "the mirror to be taken out", func() error {
				if now := node.Hosts(); now != before {
					return errors.New(now)
				}
				return nil
			})
			image := lab.Registry.Push("kept-"+strings.ReplaceAll(name, " ", "-"), MiB)
			node.MustPull(image.Tagged)
			node.Check(image.Tagged, image)
		})
	}
}

// check runs "shoal containerd check" on the node about the lab's registry.
func (n *Node) check(flags ...string) (code int, said string) {
	n.lab.t.Helper()
	return n.ShoalContainerd("check", flags...)
}

// A pull by containerd itself proves where its pulls go, and leaves nothing behind.
func TestProbe(t *testing.T) {
	lab := NewLab(t)
	node := lab.AddNode(WithFallback)
	node.StartShoal()
	if code, said := node.check("--probe"); code != 0 || !strings.Contains(said, "as a pull has proved") {
		t.Fatalf("exit code %d, %s", code, said)
	}
	if sent := lab.Registry.Requests(From(node.Address)); len(sent) != 0 {
		t.Errorf("the registry was asked: %+v", sent)
	}
	left, err := node.containerd.images.ListImages(t.Context(), &cri.ListImagesRequest{})
	if err != nil || len(left.GetImages()) != 0 {
		t.Errorf("images are left: %v, %v", left.GetImages(), err)
	}

	// The files say so, and containerd reads others: it was not restarted since.
	moved := filepath.Join(node.dir, "moved.toml")
	text := strings.ReplaceAll(node.containerdConfig(node.containerd.socket, node.containerd.snapshotter), node.hostsFolder(), filepath.Join(node.dir, "moved.d"))
	folder := filepath.Join(node.dir, "moved.d", lab.Registry.Host)
	err = errors.Join(os.WriteFile(moved, []byte(text), 0o600), os.MkdirAll(folder, 0o750),
		os.WriteFile(filepath.Join(folder, "hosts.toml"), []byte("[host.'http://"+mirrorAddress+"']\ncapabilities = ['pull', 'resolve']\n"), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	node.SetMirror(NoMirror)
	if code, said := node.check("--containerd-config", moved); code != 0 {
		t.Errorf("the files alone: exit code %d, %s", code, said)
	}
	code, said := node.check("--containerd-config", moved, "--probe", "-o", "json")
	var report struct {
		Registries []struct{ Probed string }
		Findings   []struct{ Code string }
	}
	if err := json.Unmarshal([]byte(strings.TrimSpace(said[:strings.LastIndex(said, "}")+1])), &report); err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	if code != 4 || report.Registries[0].Probed != "failed" || report.Findings[0].Code != "probe_failed" {
		t.Errorf("exit code %d, %s", code, said)
	}
}
