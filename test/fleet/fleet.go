package fleet

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/shoal-project/shoal/pkg/blob"
)

// Config says which daemons to start.
type Config struct {
	Binary   string // of shoal
	Dir      string // for data, sockets and logs; the caller removes it
	Nodes    int
	Upstream string   // URL of the registry
	Alone    bool     // no secret: nodes of their own
	Flags    []string // more flags for each daemon
}

// A Fleet is a number of daemons that know each other.
type Fleet struct {
	Nodes []*Node
	alone bool
}

// Start starts the daemons and waits until each answers on its admin socket. On an error
// nothing is left running.
func Start(ctx context.Context, cfg Config) (_ *Fleet, err error) {
	secret := make([]byte, 32)
	_, _ = rand.Read(secret) // never fails
	secretFile := filepath.Join(cfg.Dir, "secret")
	if err := os.WriteFile(secretFile, []byte(hex.EncodeToString(secret)+"\n"), 0o600); err != nil {
		return nil, fmt.Errorf("write the swarm's secret: %w", err)
	}
	ports, err := freePorts(ctx, 2*cfg.Nodes)
	if err != nil {
		return nil, err
	}
	f := &Fleet{alone: cfg.Alone}
	defer func() {
		if err != nil {
			f.Stop()
		}
	}()
	for i := range cfg.Nodes {
		args := []string{
			"--listen", loopback(ports[2*i]),
			"--metrics-listen", "",
			"--upstream", RegistryName + "=" + cfg.Upstream,
			"--p2p-listen", "/ip4/127.0.0.1/tcp/" + strconv.Itoa(ports[2*i+1]),
		}
		if !cfg.Alone {
			args = append(args, "--p2p-secret-file", secretFile)
			for j := range min(i, 2) { // the first two are known by address, the others by the DHT
				args = append(args, "--p2p-bootstrap", loopback(ports[2*j+1]))
			}
		}
		node := newNode(i+1, filepath.Join(cfg.Dir, "node-"+strconv.Itoa(i+1)), loopback(ports[2*i]))
		if err := node.start(ctx, cfg.Binary, append(args, cfg.Flags...)); err != nil {
			return nil, err
		}
		f.Nodes = append(f.Nodes, node)
	}
	return f, f.each(ctx, func(ctx context.Context, n *Node) error { return n.awaitAnswer(ctx) })
}

// AwaitMembers waits until every daemon is connected to every other one.
func (f *Fleet) AwaitMembers(ctx context.Context) error {
	if f.alone {
		return nil
	}
	return f.each(ctx, func(ctx context.Context, n *Node) error {
		return n.Await(ctx, fmt.Sprintf("%d members", len(f.Nodes)-1), func(s Seen) bool {
			return s.Status.Members >= len(f.Nodes)-1
		})
	})
}

// AwaitProven waits until every daemon has proven every layer of the image.
func (f *Fleet) AwaitProven(ctx context.Context, img Image) error {
	return f.each(ctx, func(ctx context.Context, n *Node) error {
		return n.Await(ctx, "every layer proven", func(s Seen) bool { return s.Proven(img) == len(img.Layers()) })
	})
}

// Stop ends every daemon and waits for it.
func (f *Fleet) Stop() {
	for _, n := range f.Nodes {
		n.terminate()
	}
	for _, n := range f.Nodes {
		n.wait()
	}
}

func (f *Fleet) each(ctx context.Context, do func(context.Context, *Node) error) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, n := range f.Nodes {
		group.Go(func() error { return do(ctx, n) })
	}
	return group.Wait()
}

// Proven counts the layers of the image that the node has proven.
func (s Seen) Proven(img Image) int {
	proven := map[blob.Digest]bool{}
	for _, l := range s.Layers.Layers {
		proven[l.Blob] = l.State == "proven"
	}
	n := 0
	for _, c := range img.Layers() {
		if proven[c.Digest] {
			n++
		}
	}
	return n
}

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// freePorts finds TCP ports that nobody listens on at this moment.
func freePorts(ctx context.Context, n int) (ports []int, err error) {
	var held []net.Listener
	defer func() {
		for _, l := range held {
			err = errors.Join(err, l.Close())
		}
	}()
	for range n {
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("find a free port: %w", err)
		}
		held = append(held, l)
		addr, ok := l.Addr().(*net.TCPAddr)
		if !ok {
			return nil, fmt.Errorf("find a free port: listening on %s", l.Addr())
		}
		ports = append(ports, addr.Port)
	}
	return ports, nil
}

// stopWait is how long a daemon may take to stop before it is killed. Its own limit is 10 s.
const stopWait = 15 * time.Second
