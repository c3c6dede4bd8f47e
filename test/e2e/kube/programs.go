package main

import (
	"context"
	"debug/buildinfo"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/shoal-project/shoal/test/e2e"
)

// The versions that the cases are proven with.
const (
	kubernetesVersion = "v1.36.3"
	etcdVersion       = "v3.6.16"
	containerdVersion = "v2.4.2"
	coreDNSVersion    = "v1.15.0"
	helmVersion       = "v4.3.1"
)

// A source is one Go module and the programs that are built from it.
type source struct {
	name, module, version string
	programs              []string // files that come of it
	packages              []string // what is built
	main                  string   // or the text of a program of one's own, without its first line
	flags                 string   // of the linker
	replace               []string // lines of go.mod
}

func sources() []source {
	kubernetes := source{
		name: "kubernetes", module: "k8s.io/kubernetes", version: kubernetesVersion,
		flags: "-X k8s.io/component-base/version.gitVersion=" + kubernetesVersion +
			" -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=36",
	}
	for _, program := range []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kubectl"} {
		kubernetes.programs = append(kubernetes.programs, program)
		kubernetes.packages = append(kubernetes.packages, "k8s.io/kubernetes/cmd/"+program)
	}
	// Kubernetes' own go.mod takes these from its folder "staging"; published, they have its version.
	for staging := range strings.FieldsSeq(`api apiextensions-apiserver apimachinery apiserver cli-runtime client-go
		cloud-provider cluster-bootstrap code-generator component-base component-helpers controller-manager cri-api
		cri-client cri-streaming csi-translation-lib dynamic-resource-allocation endpointslice externaljwt
		kube-aggregator kube-controller-manager kube-proxy kube-scheduler kubectl kubelet metrics mount-utils
		pod-security-admission sample-apiserver sample-controller streaming`) {
		kubernetes.replace = append(kubernetes.replace, "k8s.io/"+staging+" => k8s.io/"+staging+" v0."+strings.TrimPrefix(kubernetesVersion, "v1."))
	}
	const containerd = "github.com/containerd/containerd/v2"
	return []source{
		kubernetes,
		{
			name: "etcd", module: "go.etcd.io/etcd/server/v3", version: etcdVersion, programs: []string{"etcd"},
			main: "import (\n\t\"os\"\n\n\t\"go.etcd.io/etcd/server/v3/etcdmain\"\n)\n\nfunc main() { etcdmain.Main(os.Args) }\n",
		},
		{
			name: "containerd", module: containerd, version: containerdVersion,
			programs: []string{"containerd", "containerd-shim-runc-v2"},
			packages: []string{containerd + "/cmd/containerd", containerd + "/cmd/containerd-shim-runc-v2"},
		},
		{
			name: "coredns", module: "github.com/coredns/coredns", version: coreDNSVersion, programs: []string{"coredns"},
			main: "import (\n\t\"github.com/coredns/coredns/coremain\"\n\t_ \"github.com/coredns/coredns/plugin/errors\"\n" +
				"\t_ \"github.com/coredns/coredns/plugin/bind\"\n\t_ \"github.com/coredns/coredns/plugin/kubernetes\"\n)\n\nfunc main() { coremain.Run() }\n",
		},
		{
			name: "helm", module: "helm.sh/helm/v4", version: helmVersion, programs: []string{"helm"},
			packages: []string{"helm.sh/helm/v4/cmd/helm"},
		},
	}
}

// builtFrom reports whether a program was built from a module at a version: the program
// itself says so.
func (s source) builtFrom(path string) bool {
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return false
	}
	for _, m := range append(info.Deps, &info.Main) {
		if m.Path == s.module && m.Version == s.version {
			return true
		}
	}
	return false
}

func (s source) built(cache string) bool {
	for _, program := range s.programs {
		if !s.builtFrom(filepath.Join(cache, "bin", program)) {
			return false
		}
	}
	return true
}

func allBuilt(cache string) bool {
	for _, s := range sources() {
		if !s.built(cache) {
			return false
		}
	}
	return true
}

// build makes whatever is missing: the programs of Kubernetes in the cache, and in the
// sandbox Shoal's image and the program of the test's own images.
func build(ctx context.Context, o options, sandbox string) error {
	for _, s := range sources() {
		if s.built(o.cache) {
			continue
		}
		_, _ = fmt.Fprintf(os.Stderr, "Building %s %s ...\n", s.name, s.version)
		if err := s.build(ctx, o.cache); err != nil {
			return err
		}
	}
	if err := e2e.PrepareTools(o.checkout, sandbox); err != nil { //nolint:contextcheck // builds as long as it takes; Debian's packages, too
		return err
	}
	if err := debianPackages(ctx); err != nil {
		return err
	}
	_, _ = fmt.Fprintln(os.Stderr, "Building Shoal's image ...")
	tool := filepath.Join(sandbox, "bin", "image")
	wait := filepath.Join(sandbox, "bin", "wait")
	return errors.Join(
		goBuild(ctx, o.checkout, "build", "-o", tool, "./deploy/image"),
		goBuild(ctx, filepath.Join(o.checkout, "test", "e2e"), "build", "-trimpath", "-ldflags=-s -w", "-o", wait, "./kube/testdata/wait"),
		runIn(ctx, o.checkout, tool, "build", "--out", filepath.Join(sandbox, "dist"), "--version", "e2e", "--commit", "e2e", "--epoch", "1700000000"),
	)
}

// debianPackages are the CNI plugins and iptables, which PrepareTools does not need.
func debianPackages(ctx context.Context) error {
	_, plugins := os.Stat("/usr/lib/cni/bridge")
	_, iptables := exec.LookPath("iptables")
	if plugins == nil && iptables == nil {
		return nil
	}
	return runIn(ctx, "/", "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "-y", "-qq", "--no-install-recommends",
		"containernetworking-plugins", "iptables")
}

// build makes a module that requires the source, and builds its programs.
func (s source) build(ctx context.Context, cache string) error {
	dir := filepath.Join(cache, "src", s.name)
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	mod := fmt.Sprintf("module %s-programs\n\ngo 1.26.0\n\nrequire %s %s\nreplace (\n%s\n)\n", s.name, s.module, s.version, strings.Join(s.replace, "\n"))
	file, text, packages := "main.go", "package main\n\n"+s.main, []string{"."}
	if s.main == "" {
		file, packages = "tools.go", s.packages
		text = "//go:build tools\n\npackage tools\n\nimport (\n\t_ \"" + strings.Join(s.packages, "\"\n\t_ \"") + "\"\n)\n"
	}
	out := filepath.Join(cache, "bin") + string(filepath.Separator)
	if len(s.programs) == 1 {
		out += s.programs[0]
	}
	return errors.Join(
		os.WriteFile(filepath.Join(dir, "go.mod"), []byte(mod), 0o600),
		os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600),
		goBuild(ctx, dir, "mod", "tidy"),
		goBuild(ctx, dir, append([]string{"build", "-trimpath", "-ldflags=-s -w " + s.flags, "-o", out}, packages...)...),
	)
}

// goBuild runs the go command in a folder, for static programs.
func goBuild(ctx context.Context, dir string, args ...string) error {
	return runIn(ctx, dir, "env", append([]string{"CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off", "go"}, args...)...)
}

// runIn runs a program to its end and returns what it said when it fails.
func runIn(ctx context.Context, dir, program string, args ...string) error {
	command := exec.CommandContext(ctx, program, args...) //nolint:gosec // a program of this one's choice
	command.Dir = dir
	said, err := command.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", filepath.Base(program), strings.Join(args, " "), err, strings.TrimSpace(string(said)))
	}
	return nil
}
