package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// The addresses of the lab, all inside the sandbox.
const (
	labAddress      = "10.88.0.1"  // control plane and registry
	apiAddress      = "10.96.0.1"  // the Service "kubernetes": no kube-proxy is needed
	dnsAddress      = "10.96.0.10" // CoreDNS
	registryAddress = labAddress + ":5000"
)

// patience is how long anything may take that takes seconds on an idle machine.
const patience = 2 * time.Minute

// A lab is a cluster in the sandbox. One goroutine changes it; kubectl, helm and push may be
// called from several.
type lab struct {
	ctx      context.Context //nolint:containedctx // that of the whole run
	options  options
	sandbox  string
	group    string // its cgroup
	registry *registry
	nodes    [2]*node
	// running are the control plane's processes, for the end.
	running []*exec.Cmd
	// before is what each node had of containerd's hosts before Shoal.
	before map[string]map[string]string
	// disks are the names of all that each had on its disk then.
	disks map[string]map[string]bool
}

func (l *lab) program(name string) string { return filepath.Join(l.options.cache, "bin", name) }
func (l *lab) pki(name string) string     { return filepath.Join(l.sandbox, "pki", name) }
func (l *lab) log(name string) string     { return filepath.Join(l.sandbox, "logs", name+".log") }

// start runs a program of the control plane until the lab ends.
func (l *lab) start(name, program string, args ...string) error {
	out, err := os.Create(l.log(name))
	if err != nil {
		return err
	}
	defer func() { _ = out.Close() }()
	command := exec.CommandContext(l.ctx, program, args...) //nolint:gosec // a program of this one's choice
	command.Stdout, command.Stderr = out, out
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := command.Start(); err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	l.running = append(l.running, command)
	return nil
}

// up makes the network, the control plane, the registry with its images, and both nodes.
func (l *lab) up() error {
	for _, dir := range []string{"logs", "etcd"} {
		if err := os.MkdirAll(filepath.Join(l.sandbox, dir), 0o700); err != nil {
			return err
		}
	}
	if err := errors.Join(l.network(), makePKI(l.pki(""))); err != nil {
		return err
	}
	var err error
	if l.registry, err = l.startRegistry(); err != nil {
		return err
	}
	if err := errors.Join(l.controlPlane(), l.pushImages()); err != nil {
		return err
	}
	for i := range l.nodes {
		if l.nodes[i], err = l.newNode(i + 1); err != nil {
			return err
		}
	}
	for _, n := range l.nodes {
		if err := l.awaitNode(n); err != nil {
			return err
		}
	}
	return l.eventually("the default service account", func() error {
		_, err := l.kubectl("get", "serviceaccount", "default")
		return err
	})
}

// network makes a bridge, and a namespace with a cable for each node. The route to a node's
// pods goes over the node, as a cluster's network would have it.
func (l *lab) network() error {
	lines := []string{
		"link add lab type bridge",
		"addr add " + labAddress + "/24 dev lab",
		"link set lab up",
		"addr add " + apiAddress + "/32 dev lo",
		"addr add " + dnsAddress + "/32 dev lo",
	}
	for i := 1; i <= len(l.nodes); i++ {
		lines = append(lines,
			fmt.Sprintf("netns add n%d", i),
			fmt.Sprintf("link add v%d type veth peer name eth0 netns n%d", i, i),
			fmt.Sprintf("link set v%d master lab up", i),
			fmt.Sprintf("-n n%d link set lo up", i),
			fmt.Sprintf("-n n%d addr add 10.88.0.1%d/24 dev eth0", i, i),
			fmt.Sprintf("-n n%d link set eth0 up", i),
			fmt.Sprintf("-n n%d route add default via %s", i, labAddress),
			fmt.Sprintf("route add 10.89.%d.0/24 via 10.88.0.1%d", i, i))
	}
	for _, line := range lines {
		if err := runIn(l.ctx, "/", "ip", strings.Fields(line)...); err != nil {
			return err
		}
	}
	return nil
}

func (l *lab) controlPlane() error {
	kubeconfig := l.pki("kubeconfig")
	corefile := filepath.Join(l.sandbox, "Corefile")
	text := fmt.Sprintf(".:53 {\n  bind %s\n  errors\n  kubernetes cluster.local {\n    kubeconfig %s\n  }\n}\n", dnsAddress, kubeconfig)
	err := errors.Join(
		os.WriteFile(corefile, []byte(text), 0o600),
		l.start("etcd", l.program("etcd"), "--data-dir", filepath.Join(l.sandbox, "etcd"), "--unsafe-no-fsync",
			"--listen-client-urls=http://127.0.0.1:2379", "--advertise-client-urls=http://127.0.0.1:2379", "--listen-peer-urls=http://127.0.0.1:2380"),
		l.start("apiserver", l.program("kube-apiserver"), "--etcd-servers=http://127.0.0.1:2379", "--bind-address=0.0.0.0", "--secure-port=443",
			"--advertise-address="+labAddress, "--service-cluster-ip-range=10.96.0.0/16", "--client-ca-file="+l.pki("ca.crt"),
			"--tls-cert-file="+l.pki("apiserver.crt"), "--tls-private-key-file="+l.pki("apiserver.key"),
			"--service-account-issuer=https://kubernetes.default.svc", "--service-account-key-file="+l.pki("sa.pub"),
			"--service-account-signing-key-file="+l.pki("sa.key"), "--kubelet-client-certificate="+l.pki("admin.crt"),
			"--kubelet-client-key="+l.pki("admin.key"), "--shutdown-delay-duration=0s", "--authorization-mode=Node,RBAC",
			"--allow-privileged=true", "--endpoint-reconciler-type=master-count", "--kubelet-preferred-address-types=InternalIP"),
	)
	if err != nil {
		return err
	}
	if err := l.eventually("the API server", func() error {
		_, err := l.kubectl("get", "--raw", "/readyz")
		return err
	}); err != nil {
		return err
	}
	return errors.Join(
		l.start("controller-manager", l.program("kube-controller-manager"), "--kubeconfig="+kubeconfig, "--use-service-account-credentials=true",
			"--service-account-private-key-file="+l.pki("sa.key"), "--root-ca-file="+l.pki("ca.crt"), "--leader-elect=false",
			"--authentication-skip-lookup=true", "--authorization-kubeconfig="+kubeconfig,
			"--node-monitor-period=1s", "--node-monitor-grace-period=12s"),
		l.start("scheduler", l.program("kube-scheduler"), "--kubeconfig="+kubeconfig, "--leader-elect=false",
			"--authentication-skip-lookup=true", "--authorization-kubeconfig="+kubeconfig),
		l.start("coredns", l.program("coredns"), "-conf", corefile),
	)
}

// down ends everything. What was mounted goes with the namespaces of the nodes.
func (l *lab) down() {
	for _, n := range l.nodes {
		if n != nil {
			n.powerOff()
		}
	}
	for _, command := range l.running {
		_ = syscall.Kill(-command.Process.Pid, syscall.SIGKILL)
		_ = command.Wait()
	}
	if l.registry != nil {
		_ = l.registry.setDown(true) // it goes with this process
	}
	removeGroups(l.group)
}

// eventually calls check until it returns nil, and fails with what it said last.
func (l *lab) eventually(what string, check func() error) error {
	ctx, cancel := context.WithTimeout(l.ctx, patience)
	defer cancel()
	pause := time.NewTicker(100 * time.Millisecond)
	defer pause.Stop()
	for {
		err := check()
		if err == nil {
			return nil
		}
		select {
		case <-pause.C:
		case <-ctx.Done():
			return fmt.Errorf("waited %v for %s: %w", patience, what, err)
		}
	}
}

// get is for what listens on addresses of the control plane and the nodes.
func (l *lab) get(url string) (*http.Response, error) {
	request, err := http.NewRequestWithContext(l.ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	return http.DefaultClient.Do(request)
}
