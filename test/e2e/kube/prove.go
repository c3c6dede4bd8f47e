package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/shoal-project/shoal/test/e2e"
)

// A testCase is one thing that is proven. Each leaves the cluster as it found it, with Shoal
// on both nodes, but for install, which comes first, and uninstall, which comes last.
type testCase struct {
	name, about string
	// do says what it saw.
	do func(*lab) (detail string, err error)
}

func cases() []testCase {
	return []testCase{
		{"install", "helm install: the image comes from the registry, the mirror when the daemon is ready", install},
		{"dns-bootstrap", "the nodes find each other through a headless Service and CoreDNS; the zone is the node's", dnsBootstrap},
		{"least-privilege", "no capability, read-only root, seccomp, no token", leastPrivilege},
		{"mirror-check", "shoal containerd check says yes, and no for a port where Shoal is not", mirrorCheck},
		{"by-tag", "a pod by tag; the second node's layers come from the first", byTag},
		{"by-digest", "a pod by digest; the second node's layers come from the first", byDigest},
		{"pull-always", "imagePullPolicy Always starts again without a byte of a layer", pullAlways},
		{"pull-never", "imagePullPolicy Never runs what is there and nothing else", pullNever},
		{"private-pod", "imagePullSecret on the pod; nothing without one, though the layers are here", privatePod},
		{"private-account", "imagePullSecret on the ServiceAccount", privateAccount},
		{"private-second", "two imagePullSecrets, the second right", privateSecond},
		{"registry-down", "an image of the first node starts on the second while the registry is down", registryDown},
		{"daemon-deleted", "the daemon's pod is deleted in the middle of a pull", daemonDeleted},
		{"containerd-restart", "containerd is killed and comes back; pulls go through Shoal", containerdRestart},
		{"rolling-restart", "a rolling restart during a stream of new pods: no pull fails", rollingRestart},
		{"upgrade", "another image, another setting and a rotated secret, under a stream of new pods", upgrade},
		{"drain", "cordon, drain, uncordon", drain},
		{"reboot", "a node loses power and comes back", reboot},
		{"scale", "from two nodes to one and back", scale},
		{"enforce", "a registry that can be reached through Shoal only, and the way back", enforce},
		{"no-socket", "without containerd's socket and content everything else is the same", noSocket},
		{"metrics", "metrics at the node's address, probed there; the Prometheus operator's objects", metrics},
		{"uninstall", "helm uninstall with a node that is down: both are as before in the end", uninstall},
		{"kustomize", "kubectl apply -k beside the cleanup that is still there, then with another setting and secret, and delete -k", kustomize},
	}
}

// A result is what became of a case. Its JSON is stable.
type result struct {
	Case    string  `json:"case"`
	OK      bool    `json:"ok"`
	Detail  string  `json:"detail"`
	Seconds float64 `json:"seconds"`
}

// prove brings the cluster up and runs the cases, inside the sandbox.
func prove(ctx context.Context, o options) int {
	var err error
	if o.checkout, err = filepath.Abs(o.checkout); err != nil {
		return e2e.Complain("kube", err, 1)
	}
	l := &lab{
		ctx: ctx, options: o, sandbox: e2e.SandboxDir(), group: filepath.Base(e2e.SandboxDir()),
		before: map[string]map[string]string{}, disks: map[string]map[string]bool{},
	}
	defer l.down()
	began := time.Now()
	if err := l.up(); err != nil {
		return e2e.Complain("kube", errors.Join(err, l.keepLogs()), 1)
	}
	_, _ = fmt.Fprintf(os.Stderr, "The cluster is up after %.1f s.\n", time.Since(began).Seconds())
	var results []result
	for _, c := range cases() {
		if len(o.only) > 0 && c.name != "install" && !slices.Contains(o.only, c.name) {
			continue
		}
		r := l.prove(c)
		results = append(results, r)
		line, err := json.Marshal(r)
		if err != nil {
			return e2e.Complain("kube", err, 1)
		}
		_, _ = fmt.Fprintln(os.Stdout, string(line))
		if c.name == "install" && !r.OK {
			break
		}
	}
	writeTable(os.Stderr, results)
	if slices.ContainsFunc(results, func(r result) bool { return !r.OK }) {
		if err := l.keepLogs(); err != nil {
			_ = e2e.Complain("kube", err, 1)
		}
		return 1
	}
	return 0
}

func (l *lab) prove(c testCase) result {
	began := time.Now()
	detail, err := c.do(l)
	if err != nil {
		detail = strings.Join(strings.Fields(err.Error()), " ")
	}
	l.sweep()
	return result{Case: c.name, OK: err == nil, Detail: detail, Seconds: float64(time.Since(began).Milliseconds()) / 1000}
}

// sweep removes a case's pods, and what it did to the registry.
func (l *lab) sweep() {
	_, _ = l.kubectl("delete", "pods", "--all", "--grace-period=0", "--force", "--wait=false")
	l.registry.setHold(0)
	if err := l.registry.setDown(true); err == nil {
		_ = l.registry.setDown(false)
	}
}

func writeTable(w io.Writer, results []result) {
	_, _ = fmt.Fprintf(w, "\nKubernetes %s, containerd %s, etcd %s, CoreDNS %s, Helm %s, %s, %s\n\n", kubernetesVersion, containerdVersion,
		etcdVersion, coreDNSVersion, helmVersion, runtime.Version(), time.Now().UTC().Format(time.DateOnly))
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "CASE\tOK\tSECONDS\tDETAIL")
	for _, r := range results {
		ok := "yes"
		if !r.OK {
			ok = "NO"
		}
		_, _ = fmt.Fprintf(table, "%s\t%s\t%.1f\t%s\n", r.Case, ok, r.Seconds, r.Detail)
	}
	_ = table.Flush()
}

// keepLogs copies every log of the lab to where it stays.
func (l *lab) keepLogs() error {
	to := filepath.Join(l.options.checkout, l.options.logs)
	if err := os.MkdirAll(to, 0o750); err != nil {
		return err
	}
	events, _ := l.kubectl("get", "events", "-A", "--sort-by=.lastTimestamp")
	pods, _ := l.kubectl("describe", "pods", "-A")
	errs := []error{
		os.WriteFile(filepath.Join(to, "events.txt"), []byte(events), 0o600),
		os.WriteFile(filepath.Join(to, "pods.txt"), []byte(pods), 0o600),
	}
	for _, dir := range []string{"logs", "n1/log", "n2/log"} {
		from := filepath.Join(l.sandbox, dir)
		errs = append(errs, filepath.WalkDir(from, func(name string, entry fs.DirEntry, err error) error {
			if err != nil || !entry.Type().IsRegular() {
				return err
			}
			content, err := os.ReadFile(name) //nolint:gosec // the lab's own
			if err != nil {
				return err
			}
			flat := strings.ReplaceAll(strings.TrimPrefix(name, l.sandbox+"/"), "/", "_")
			return os.WriteFile(filepath.Join(to, flat), content, 0o600) //nolint:gosec // where the user said
		}))
	}
	_, _ = fmt.Fprintf(os.Stderr, "The logs are in %s.\n", to)
	return errors.Join(errs...)
}
