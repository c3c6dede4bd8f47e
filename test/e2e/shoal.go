package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/types"
)

const (
	p2pPort        = "6051"
	metricsAddress = "127.0.0.1:6052"
	socketFlag     = "--containerd-socket"
)

// A Daemon is one node's Shoal.
type Daemon struct {
	*Process

	node    *Node
	socket  string // of the admin API
	atStart holding
}

// StartShoal runs the node's daemon, with more flags, and waits until it is ready. A node
// that had one before gets its data back.
func (n *Node) StartShoal(flags ...string) {
	n.lab.t.Helper()
	n.startDaemon([]string{n.lab.site.Tools.Shoal}, flags...)
}

// BesideContainerd are flags for a daemon that offers what the node's containerd keeps, at
// this many bytes a second, and that sees containerd's configuration at its usual place.
func (n *Node) BesideContainerd(rate string) []string {
	t := n.lab.t
	t.Helper()
	root := filepath.Join(n.dir, "machine")
	usual := filepath.Join(root, "etc", "containerd", "config.toml")
	text := n.containerdConfig(n.containerd.socket, n.containerd.snapshotter)
	if err := errors.Join(os.MkdirAll(filepath.Dir(usual), 0o750), os.WriteFile(usual, []byte(text), 0o600)); err != nil {
		t.Fatal(err)
	}
	return []string{
		"--containerd-content", n.contentFolder(), socketFlag, n.containerd.socket, "--containerd-rate", rate,
		"--containerd-root", root,
	}
}

// contentFolder is where the node's containerd keeps its content.
func (n *Node) contentFolder() string {
	return filepath.Join(n.dir, "containerd", "io.containerd.content.v1.content")
}

// startDaemon runs a program, with arguments of its own, that is a daemon after "serve", and
// gives it more flags.
func (n *Node) startDaemon(program []string, flags ...string) {
	lab, registry := n.lab, n.lab.Registry
	lab.t.Helper()
	d := &Daemon{node: n, socket: filepath.Join(n.run, "shoal.sock")}
	argv := slices.Concat([]string{"env"}, lab.site.ShoalEnv, n.env, program, []string{
		"serve",
		"--listen", mirrorAddress,
		"--data-dir", filepath.Join(n.dir, "shoal"),
		"--admin-socket", d.socket,
		"--p2p-listen", "/ip4/0.0.0.0/tcp/" + p2pPort,
		"--upstream", registry.Host + "=" + registry.URL(),
		"--metrics-listen", metricsAddress,
		"--log-format", "text",
		"--pprof", // for the leak check
	}, lab.site.ShoalFlags, n.flags, flags)
	secrets := n.secrets
	if secrets == nil {
		secrets = []string{lab.Secret('5')}
	}
	for _, file := range secrets {
		argv = append(argv, "--p2p-secret-file", file)
	}
	for _, contact := range lab.bootstrap() {
		argv = append(argv, "--p2p-bootstrap", contact)
	}
	d.Process = lab.Start(n.Name+"-shoal", n.netns(), argv...)
	d.Await(d.up)
	if slices.Contains(flags, socketFlag) {
		d.Await(d.follows)
	}
	var err error
	if d.atStart, err = d.holds(lab.t.Context()); err != nil {
		lab.t.Fatalf("counting what %s holds: %v", d.Name, err)
	}
	lab.t.Cleanup(d.checkLeaks)
	n.daemon = d
}

// Secret returns the name of the file with one of the lab's swarm secrets, which is made of a digit
// of its own.
func (l *Lab) Secret(digit byte) string {
	l.t.Helper()
	name := filepath.Join(l.dir, "secret-"+string(digit))
	text := strings.Repeat(string(digit), 64) + "\n" // a lab has nothing to hide
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		l.t.Fatal(err)
	}
	return name
}

// RestartWith stops the node's daemon as a service manager does, whatever it has under way, and starts it with
// other secrets, given by their files, the one that stays first.
func (n *Node) RestartWith(secrets ...string) {
	n.lab.t.Helper()
	if err := n.Daemon().Process.Stop(); err != nil {
		n.lab.t.Errorf("the daemon of %s ended: %v", n.Name, err)
	}
	n.secrets = secrets
	n.StartShoal()
}

// up reports whether every part of the daemon is there: what it holds is counted from then on.
func (d *Daemon) up(ctx context.Context) error {
	if err := d.probe(ctx, "/readyz"); err != nil {
		return err
	}
	if _, err := d.Status(); err != nil { //nolint:contextcheck // it has a limit of its own
		return err
	}
	answer, err := d.node.get(ctx, "http://"+mirrorAddress+"/v2/", nil)
	if err != nil {
		return err
	}
	return answer.Body.Close()
}

// follows reports whether the daemon hears from its containerd, for which it holds a connection.
func (d *Daemon) follows(context.Context) error {
	s, err := d.Status() //nolint:contextcheck // it has a limit of its own
	if err == nil && !s.Containerd.Followed {
		err = errors.New(s.Containerd.Reason)
	}
	return err
}

// probe asks the daemon for its health as the kubelet does, and returns what it says if that is not 200.
func (d *Daemon) probe(ctx context.Context, path string) error {
	answer, err := d.node.get(ctx, "http://"+metricsAddress+path, nil)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		why, _ := io.ReadAll(io.LimitReader(answer.Body, 1<<10))
		return fmt.Errorf("%s: %s: %s", path, answer.Status, why)
	}
	return nil
}

// Daemon returns the node's Shoal, which must have been started.
func (n *Node) Daemon() *Daemon {
	n.lab.t.Helper()
	if n.daemon == nil {
		n.lab.t.Fatalf("%s has no daemon", n.Name)
	}
	return n.daemon
}

// A Status is what the tests read of "shoal status -o json" (docs/admin-api.md).
type Status struct {
	PeerID  string `json:"peer_id"`
	Members int    `json:"members"`
	Traffic struct {
		FromRegistry int64 `json:"from_registry_bytes"`
		FromPeers    int64 `json:"from_peers_bytes"`
		ToPeers      int64 `json:"to_peers_bytes"`
		ToClients    int64 `json:"to_clients_bytes"`
	} `json:"traffic"`
	Store struct {
		Blobs int   `json:"blobs"`
		Bytes int64 `json:"bytes"`
	} `json:"store"`
	Containerd struct {
		Followed bool   `json:"followed"`
		Reason   string `json:"reason"`
		Blobs    int    `json:"blobs"`
		Bytes    int64  `json:"bytes"`
		Waiting  int    `json:"waiting"`
	} `json:"containerd"`
	Downloads []struct {
		Digest string `json:"digest"`
		Have   int64  `json:"have_bytes"`
	} `json:"downloads"`
	Quarantined []struct {
		PeerID string `json:"peer_id"`
	} `json:"quarantined"`
}

// Status runs "shoal status".
func (d *Daemon) Status() (Status, error) {
	var s Status
	ctx, cancel := context.WithTimeout(d.t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, d.node.lab.site.Tools.Shoal, "status", "--admin-socket", d.socket, "-o", "json") //nolint:gosec // our own program
	out, err := cmd.Output()
	if err != nil {
		if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
			err = fmt.Errorf("%w: %s", err, exit.Stderr)
		}
		return s, fmt.Errorf("shoal status on %s: %w", d.node.Name, err)
	}
	if err := json.Unmarshal(out, &s); err != nil {
		return s, fmt.Errorf("shoal status on %s: %w", d.node.Name, err)
	}
	return s, nil
}

// MustStatus is Status of a daemon that has to answer.
func (d *Daemon) MustStatus() Status {
	d.t.Helper()
	s, err := d.Status()
	if err != nil {
		d.t.Fatal(err)
	}
	return s
}

// AwaitMembers waits until each of the nodes' daemons sees all the others.
func AwaitMembers(nodes ...*Node) {
	for _, n := range nodes {
		n.lab.t.Helper()
		n.AwaitMembers(len(nodes) - 1)
	}
}

// AwaitMembers waits until the node's daemon sees so many other members.
func (n *Node) AwaitMembers(count int) {
	n.lab.t.Helper()
	Eventually(n.lab.t, patience, n.Name+" to meet the other members", func() error {
		s, err := n.Daemon().Status()
		if err != nil {
			return err
		}
		if s.Members < count {
			return fmt.Errorf("it knows %d of %d", s.Members, count)
		}
		return nil
	})
}

// Have is how much of a blob the daemon has while it downloads it, proven or not, in
// bytes; 0 for a blob that it does not download.
func (s Status) Have(digest string) int64 {
	for _, d := range s.Downloads {
		if d.Digest == digest {
			return d.Have
		}
	}
	return 0
}

// Accused lists the peers that the daemon has in quarantine.
func (s Status) Accused() []string {
	peers := make([]string, 0, len(s.Quarantined))
	for _, q := range s.Quarantined {
		peers = append(peers, q.PeerID)
	}
	return peers
}

// metrics returns what the node's daemon tells Prometheus.
func (n *Node) metrics(ctx context.Context) (string, error) {
	answer, err := n.get(ctx, "http://"+metricsAddress+"/metrics", nil)
	if err != nil {
		return "", err
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(answer.Body, MiB))
	return string(text), err
}

// get sends a GET from inside the node's network. The caller closes the body, and the
// connection with it.
func (n *Node) get(ctx context.Context, url string, header http.Header) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	if header != nil {
		request.Header = header
	}
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			return n.Dial(ctx, address)
		},
	}}
	return client.Do(request)
}

// Ask sends a GET to the node's mirror, as a client without containerd's manners, and
// returns the status and at most 1 MiB of the body.
func (n *Node) Ask(path, authorization string) (int, []byte) {
	n.lab.t.Helper()
	ctx, cancel := context.WithTimeout(n.lab.t.Context(), patience)
	defer cancel()
	header := http.Header{"Accept": {string(types.OCIImageIndex), string(types.OCIManifestSchema1), "*/*"}}
	if authorization != "" {
		header.Set("Authorization", authorization)
	}
	answer, err := n.get(ctx, "http://"+mirrorAddress+path+"?ns="+n.lab.Registry.Host, header)
	if err != nil {
		n.lab.t.Fatalf("asking the mirror of %s for %s: %v", n.Name, path, err)
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(answer.Body, MiB))
	if err != nil {
		n.lab.t.Fatalf("asking the mirror of %s for %s: %v", n.Name, path, err)
	}
	return answer.StatusCode, body
}
