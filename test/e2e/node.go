package e2e

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// mirrorAddress is where every node's Shoal listens for clients, on its own loopback.
const mirrorAddress = "127.0.0.1:6050"

// A Node is a machine of the lab: its own network, a containerd, and perhaps a
// Shoal daemon. It belongs to the goroutine of the test.
type Node struct {
	Name    string // "n1"
	Address string // its IP address
	Number  int    // in its lab, from 1

	lab        *Lab
	dir, run   string
	discards   bool // its containerd drops layers once they are unpacked
	containerd *runtimeServer
	daemon     *Daemon  // nil before StartShoal
	secrets    []string // files with those of the swarm; nil for the lab's usual one
	env, flags []string // more for its daemon
}

// A Mirror says what a node's containerd does for the lab's registry.
type Mirror string

// The forms of hosts.toml.
const (
	NoMirror     Mirror = "no mirror"         // ask the registry
	WithFallback Mirror = "with fallback"     // ask Shoal, then the registry: as in production
	MirrorOnly   Mirror = "nothing but Shoal" // so that a test sees what Shoal alone does
)

// AddNode makes the next node, with containerd running and no Shoal.
func (l *Lab) AddNode(mirror Mirror) *Node {
	l.t.Helper()
	return l.addNode(mirror, false)
}

// AddDiscardingNode is AddNode with a containerd that keeps no layer once it is unpacked.
func (l *Lab) AddDiscardingNode(mirror Mirror) *Node {
	l.t.Helper()
	return l.addNode(mirror, true)
}

func (l *Lab) addNode(mirror Mirror, discards bool) *Node {
	l.t.Helper()
	l.nodes++
	n := &Node{
		Name: fmt.Sprintf("n%d", l.nodes), Address: l.net.address(l.net.host(l.nodes)),
		lab: l, Number: l.nodes, discards: discards,
	}
	n.dir, n.run = filepath.Join(l.dir, n.Name), filepath.Join(l.run, n.Name)
	for _, dir := range []string{n.dir, n.run} {
		if err := os.Mkdir(dir, 0o750); err != nil {
			l.t.Fatal(err)
		}
	}
	l.plug(n.Number)
	n.SetMirror(mirror)
	n.StartContainerd()
	return n
}

// StartContainerd runs the node's containerd. One that was killed gets its data back.
func (n *Node) StartContainerd() {
	n.lab.t.Helper()
	n.containerd = n.startContainerd()
}

// KillContainerd ends the node's containerd with SIGKILL: pulls fail, and what it has of
// them stays on the disk.
func (n *Node) KillContainerd() { n.containerd.Kill() }

func (n *Node) netns() string { return n.lab.net.netns(n.Number) }

func (n *Node) hostsFolder() string { return filepath.Join(n.dir, "certs.d") }

// SetMirror writes hosts.toml, which containerd reads anew for every pull.
func (n *Node) SetMirror(mirror Mirror) {
	n.lab.t.Helper()
	registry := n.lab.Registry
	server := registry.URL()
	if mirror == MirrorOnly {
		server = "http://" + mirrorAddress
	}
	text := fmt.Sprintf("server = %q\n", server)
	if mirror == WithFallback {
		text += fmt.Sprintf("[host.%q]\n  capabilities = ['pull', 'resolve']\n  dial_timeout = '200ms'\n", "http://"+mirrorAddress)
	}
	dir := filepath.Join(n.hostsFolder(), registry.Host)
	if err := os.MkdirAll(dir, 0o750); err != nil {
		n.lab.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "hosts.toml"), []byte(text), 0o600); err != nil {
		n.lab.t.Fatal(err)
	}
}

// Shape limits the node's network, in the words of tc ("80mbit"); empty is no limit.
func (n *Node) Shape(send, receive string) {
	n.lab.t.Helper()
	n.lab.shape(n.Number, send, receive)
}

// Unplug cuts the node's cable: nothing comes or goes, and nobody is told.
func (n *Node) Unplug() {
	n.lab.t.Helper()
	if err := n.lab.net.unplug(n.Number); err != nil {
		n.lab.t.Fatalf("unplugging %s: %v", n.Name, err)
	}
}

// isolate ends whatever the node is connected with; nobody reaches it any more.
func (n *Node) isolate() error { return n.lab.net.isolate(n.Number) }

// Received is the number of bytes that came over the node's cable, whoever sent them.
func (n *Node) Received() int64 {
	n.lab.t.Helper()
	all, err := n.lab.Traffic()
	if err != nil {
		n.lab.t.Fatal(err)
	}
	return all[n.Number].Received
}

// Dial connects to an address as a program on the node would.
func (n *Node) Dial(ctx context.Context, address string) (net.Conn, error) {
	return dialIn(ctx, n.netns(), address)
}

// Listen listens on one of the node's addresses as a program on it would.
func (n *Node) Listen(address string) (net.Listener, error) {
	return listenIn(n.lab.t.Context(), n.netns(), address)
}

// Run runs a program of the node to its end, with more of an environment (NAME=value), and
// returns what it wrote. Its error has the end of that.
func (n *Node) Run(env []string, argv ...string) (string, error) {
	n.lab.t.Helper()
	ctx, cancel := context.WithTimeout(n.lab.t.Context(), 2*patience)
	defer cancel()
	args := slices.Concat([]string{"--net=/run/netns/" + n.netns(), "--", "env"}, env, argv)
	out, err := exec.CommandContext(ctx, "nsenter", args...).CombinedOutput() //nolint:gosec // a program that a test chose
	if err != nil {
		return string(out), fmt.Errorf("%s on %s: %w: %s", argv[0], n.Name, err, out[max(0, len(out)-2000):])
	}
	return string(out), nil
}

// Start runs a program of the node as a daemon, under a name that is unique on it.
func (n *Node) Start(name string, argv ...string) *Process {
	n.lab.t.Helper()
	return n.lab.Start(n.Name+"-"+name, n.netns(), argv...)
}

// PullImage asks containerd for an image, as the kubelet does, for as long as ctx lives;
// user is nil for no credentials. It returns what that took, and CRI's error.
func (n *Node) PullImage(ctx context.Context, ref string, user *User) (time.Duration, error) {
	request := &cri.PullImageRequest{Image: &cri.ImageSpec{Image: ref}}
	if user != nil {
		request.Auth = &cri.AuthConfig{Username: user.Name, Password: user.Password}
	}
	began := time.Now()
	_, err := n.containerd.images.PullImage(ctx, request)
	took := time.Since(began)
	n.lab.t.Logf("%s pulled %s in %v: %s", n.Name, ref, took.Round(time.Millisecond), outcome(err))
	return took, err
}

// Pull is PullImage with a deadline that no pull of a test comes near.
func (n *Node) Pull(ref string, user *User) error {
	ctx, cancel := context.WithTimeout(n.lab.t.Context(), 2*patience)
	defer cancel()
	_, err := n.PullImage(ctx, ref, user)
	return err
}

// MustPull is Pull without credentials, for a pull that has to succeed.
func (n *Node) MustPull(ref string) {
	n.lab.t.Helper()
	if err := n.Pull(ref, nil); err != nil {
		n.lab.t.Fatalf("%s pulling %s: %v", n.Name, ref, err)
	}
}

// A PullUnderWay is a pull in the background.
type PullUnderWay struct {
	node  *Node
	ended chan error
}

// BeginPull starts Pull without credentials and returns at once.
func (n *Node) BeginPull(ref string) *PullUnderWay {
	p := &PullUnderWay{node: n, ended: make(chan error, 1)}
	go func() { p.ended <- n.Pull(ref, nil) }()
	n.lab.t.Cleanup(func() { _ = p.Wait() })
	return p
}

// Ended reports whether the pull is over.
func (p *PullUnderWay) Ended() bool { return len(p.ended) > 0 }

// Wait returns the pull's error once it is over. A pull has its own deadline.
func (p *PullUnderWay) Wait() error {
	err := <-p.ended
	p.ended <- err
	return err
}

func outcome(err error) string {
	if err == nil {
		return "succeeded"
	}
	return "failed: " + strings.ReplaceAll(err.Error(), "\n", " ")
}
