package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const namespace = "shoal-system"

// kubectl runs the command, and returns its standard output.
func (l *lab) kubectl(args ...string) (string, error) { return l.apply("", args...) }

// apply runs kubectl with something on its standard input.
func (l *lab) apply(input string, args ...string) (string, error) {
	return l.tool(input, "kubectl", append([]string{"--kubeconfig", l.pki("kubeconfig")}, args...)...)
}

// helm runs the command.
func (l *lab) helm(args ...string) (string, error) {
	return l.tool("", "helm", append([]string{"--kubeconfig", l.pki("kubeconfig"), "--namespace", namespace}, args...)...)
}

func (l *lab) tool(input, program string, args ...string) (string, error) {
	command := exec.CommandContext(l.ctx, l.program(program), args...) //nolint:gosec // a program of the lab
	command.Env = append(os.Environ(), "HOME="+l.sandbox, "KUBECACHEDIR="+filepath.Join(l.sandbox, "kubecache"))
	var out, said bytes.Buffer
	command.Stdin, command.Stdout, command.Stderr = strings.NewReader(input), &out, &said
	if err := command.Run(); err != nil {
		return out.String(), fmt.Errorf("%s %s: %w: %s", program, strings.Join(args, " "), err, strings.TrimSpace(said.String()))
	}
	return out.String(), nil
}

// object decodes what kubectl get prints.
func (l *lab) object(into any, args ...string) error {
	text, err := l.kubectl(append([]string{"get", "-o", "json"}, args...)...)
	if err != nil {
		return err
	}
	return json.Unmarshal([]byte(text), into)
}

func (l *lab) awaitNode(n *node) error {
	return l.eventually(n.name+" to be ready", func() error {
		ready, err := l.kubectl("get", "node", n.name, "-o", `jsonpath={.status.conditions[?(@.type=="Ready")].status}`)
		if err == nil && ready != "True" {
			err = fmt.Errorf("ready: %q", ready)
		}
		return err
	})
}

// A pod is what a case asks for; the zero value of a field leaves it out.
type pod struct {
	name, node, image string
	policy            string   // imagePullPolicy
	secrets           []string // imagePullSecrets
	account           string
}

func (l *lab) create(p pod) error {
	spec := map[string]any{
		"nodeName": p.node, "terminationGracePeriodSeconds": 0, "automountServiceAccountToken": false,
		"containers": []any{map[string]any{"name": "wait", "image": p.image, "imagePullPolicy": orElse(p.policy, "IfNotPresent")}},
	}
	if p.account != "" {
		spec["serviceAccountName"] = p.account
	}
	secrets := make([]any, 0, len(p.secrets))
	for _, s := range p.secrets {
		secrets = append(secrets, map[string]any{"name": s})
	}
	spec["imagePullSecrets"] = secrets
	text, err := json.Marshal(map[string]any{"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"name": p.name}, "spec": spec})
	if err != nil {
		return err
	}
	_, err = l.apply(string(text), "create", "-f", "-")
	return err
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// A podStatus is what of a pod's status is looked at.
type podStatus struct {
	Status struct {
		Phase      string `json:"phase"`
		Containers []struct {
			State struct {
				Waiting *struct {
					Reason  string `json:"reason"`
					Message string `json:"message"`
				} `json:"waiting"`
			} `json:"state"`
		} `json:"containerStatuses"`
	} `json:"status"`
}

// waiting says why the pod's container does not run; empty where it does, or nobody knows yet.
func (s podStatus) waiting() (reason, message string) {
	for _, c := range s.Status.Containers {
		if c.State.Waiting != nil {
			return c.State.Waiting.Reason, c.State.Waiting.Message
		}
	}
	return "", ""
}

// errPull says that a pod's image could not be had.
var errPull = errors.New("the image was not pulled")

// awaitPod waits until the pod runs. It fails with errPull at the first pull that does not
// succeed, though the kubelet would try again.
func (l *lab) awaitPod(name string) error {
	var failed error
	err := l.eventually("pod "+name, func() error {
		var s podStatus
		if err := l.object(&s, "pod", name); err != nil {
			return err
		}
		if reason, message := s.waiting(); strings.Contains(reason, "Image") {
			failed = fmt.Errorf("%w: %s: %s: %s", errPull, name, reason, message)
			return nil
		}
		if s.Status.Phase != "Running" {
			return fmt.Errorf("it is %s", s.Status.Phase)
		}
		return nil
	})
	return errors.Join(err, failed)
}

// run creates a pod and waits until it runs.
func (l *lab) run(p pod) error {
	if err := l.create(p); err != nil {
		return err
	}
	return l.awaitPod(p.name)
}

// rollout waits until every node has the DaemonSet as it is asked for.
func (l *lab) rollout(name string) error {
	_, err := l.kubectl("-n", namespace, "rollout", "status", "daemonset/"+name, "--timeout="+patience.String())
	return err
}

// shoalPod is the daemon's pod on a node.
func (l *lab) shoalPod(n *node) (string, error) {
	name, err := l.kubectl("-n", namespace, "get", "pods", "-l", "app.kubernetes.io/component=daemon",
		"--field-selector", "spec.nodeName="+n.name, "-o", "jsonpath={.items[*].metadata.name}")
	if err == nil && (name == "" || strings.Contains(name, " ")) {
		err = fmt.Errorf("the pods of %s: %q", n.name, name)
	}
	return name, err
}

// inShoal runs the shoal command in a container of a node's daemon.
func (l *lab) inShoal(n *node, container string, args ...string) (string, error) {
	name, err := l.shoalPod(n)
	if err != nil {
		return "", err
	}
	return l.kubectl(append([]string{"-n", namespace, "exec", name, "-c", container, "--", "shoal"}, args...)...)
}

// A status is what is looked at of a daemon's.
type status struct {
	Members int    `json:"members"`
	Zone    string `json:"zone"`
}

func (l *lab) status(n *node) (s status, _ error) {
	text, err := l.inShoal(n, "shoal", "status", "-o", "json")
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal([]byte(text), &s)
}

// awaitMembers waits until a node's daemon knows so many other members.
func (l *lab) awaitMembers(n *node, want int) error {
	return l.eventually(n.name+"'s members", func() error {
		s, err := l.status(n)
		if err == nil && s.Members != want {
			err = fmt.Errorf("%d members", s.Members)
		}
		return err
	})
}

// awaitMirror waits until a node's pulls go through Shoal.
func (l *lab) awaitMirror(n *node) error {
	return l.eventually("the mirror of "+n.name, func() error {
		_, err := l.inShoal(n, "mirror", "containerd", "check", "--root", "/host", "-r", registryAddress, "-r", "docker.io")
		return err
	})
}
