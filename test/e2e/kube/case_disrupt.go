package main

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"
)

// settled waits until both nodes have Shoal, know each other, and pull through it.
func (l *lab) settled() error {
	if err := l.rollout("shoal"); err != nil {
		return err
	}
	for _, n := range l.nodes {
		if err := errors.Join(l.awaitMirror(n), l.awaitMembers(n, 1)); err != nil {
			return err
		}
	}
	return nil
}

// throughShoal runs a new image on the first node and then on the second, which must not
// read its layer from the registry.
func (l *lab) throughShoal(name string) error {
	i, err := l.push("public/"+name, mib)
	if err != nil {
		return err
	}
	_, second, err := l.pullTwice(name, i, i.tagged)
	if err == nil && second != 0 {
		err = fmt.Errorf("the second node read %d bytes of %s from the registry", second, name)
	}
	return err
}

func daemonDeleted(l *lab) (string, error) {
	i, err := l.push("public/deleted", 32*mib)
	if err != nil {
		return "", err
	}
	l.registry.setHold(4 * mib)
	if err := l.create(pod{name: "deleted-1", node: "n1", image: i.tagged}); err != nil {
		return "", err
	}
	err = l.eventually("the pull to begin", func() error {
		if l.registry.blobs(i.layer) < 4*mib {
			return errors.New("not yet")
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	name, err := l.shoalPod(l.nodes[0])
	if err != nil {
		return "", err
	}
	if _, err := l.kubectl("-n", namespace, "delete", "pod", name); err != nil { // returns when it is gone
		return "", err
	}
	l.registry.setHold(0)
	if err := errors.Join(l.awaitPod("deleted-1"), l.noPullFailed("deleted-"), l.settled()); err != nil {
		return "", err
	}
	return fmt.Sprintf("deleted after 4 of %d MiB; the same pull went on and succeeded, without a warning", i.size/mib), nil
}

func containerdRestart(l *lab) (string, error) {
	n := l.nodes[0]
	pids, err := n.processes("containerd")
	if err != nil || len(pids) != 1 {
		return "", fmt.Errorf("containerd's processes: %v, %w", pids, err)
	}
	if err := syscall.Kill(pids[0], syscall.SIGKILL); err != nil {
		return "", err
	}
	err = l.eventually("another containerd", func() error {
		now, err := n.processes("containerd")
		if err == nil && (len(now) != 1 || now[0] == pids[0]) {
			err = fmt.Errorf("%v", now)
		}
		return err
	})
	if err = errors.Join(err, l.awaitNode(n), l.throughShoal("restarted")); err != nil {
		return "", err
	}
	return "killed; pulls on both nodes go through Shoal afterwards", nil
}

// A stream creates pods one after another, each with an image that nobody has, on both
// nodes in turn, until it is stopped. None may fail to pull.
type stream struct {
	stop    chan struct{}
	ended   chan error
	created int // valid once ended
}

func (l *lab) beginStream(name string) *stream {
	s := &stream{stop: make(chan struct{}), ended: make(chan error, 1)}
	go func() { s.ended <- l.stream(name, s) }()
	return s
}

func (l *lab) stream(name string, s *stream) error {
	pause := time.NewTicker(500 * time.Millisecond)
	defer pause.Stop()
	for ; ; s.created++ {
		select {
		case <-s.stop:
			return l.awaitStream(name, s.created)
		case <-l.ctx.Done():
			return l.ctx.Err()
		case <-pause.C:
		}
		repository := fmt.Sprintf("public/%s-%d", name, s.created)
		i, err := l.push(repository, mib)
		if err == nil {
			err = l.create(pod{name: fmt.Sprintf("%s-%d", name, s.created), node: l.nodes[s.created%2].name, image: i.tagged})
		}
		if err != nil {
			return err
		}
	}
}

// awaitStream waits until all its pods run, and looks for a pull that failed on the way.
func (l *lab) awaitStream(name string, created int) error {
	for k := range created {
		if err := l.awaitPod(fmt.Sprintf("%s-%d", name, k)); err != nil {
			return err
		}
	}
	return l.noPullFailed(name + "-")
}

// noPullFailed fails at a pull that failed on the way to a pod that begins so, though the
// kubelet may have tried again.
func (l *lab) noPullFailed(prefix string) error {
	events, err := l.kubectl("get", "events", "--field-selector", "type=Warning",
		"-o", `jsonpath={range .items[*]}{.involvedObject.name} {.reason}: {.message}{"\n"}{end}`)
	if err != nil {
		return err
	}
	for line := range strings.Lines(events) {
		if strings.HasPrefix(line, prefix) && strings.Contains(line, "ull") {
			return fmt.Errorf("%w: %s", errPull, line)
		}
	}
	return nil
}

// end stops the stream and returns how many pods it made.
func (s *stream) end() (int, error) {
	close(s.stop)
	err := <-s.ended
	return s.created, err
}

// during does something under a stream of new pods, and counts them.
func (l *lab) during(name string, do func() error) (pods int, _ error) {
	s := l.beginStream(name)
	err := do()
	pods, streamErr := s.end()
	return pods, errors.Join(err, streamErr)
}

func rollingRestart(l *lab) (string, error) {
	pods, err := l.during("rolling", func() error {
		_, err := l.kubectl("-n", namespace, "rollout", "restart", "daemonset/shoal")
		return errors.Join(err, l.settled())
	})
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%d pods with new images meanwhile, no pull failed", pods), nil
}

func upgrade(l *lab) (string, error) {
	secret := func() (string, error) {
		return l.kubectl("-n", namespace, "get", "secret", "shoal", "-o", "jsonpath={.data.secret} {.data.previous}")
	}
	old, err := secret()
	if err != nil {
		return "", err
	}
	release := func(rotating bool) string {
		return values("two", `, "background-max-size": "1GiB"`, fmt.Sprintf(`, "secret": {"rotating": %t}`, rotating))
	}
	var between, after string
	pods, err := l.during("upgraded", func() error {
		err := errors.Join(l.helmWith("upgrade", release(true)), l.settled())
		if err != nil {
			return err
		}
		if between, err = secret(); err != nil {
			return err
		}
		err = errors.Join(l.helmWith("upgrade", release(false)), l.settled())
		if err != nil {
			return err
		}
		after, err = secret()
		return err
	})
	if err != nil {
		return "", err
	}
	one, _, _ := strings.Cut(old, " ")
	two, previous, _ := strings.Cut(between, " ")
	if two == one || previous != one || strings.TrimSpace(after) != two {
		return "", errors.New("the secrets are not the old one, both, and the new one")
	}
	return fmt.Sprintf("image, setting and secret are new; %d pods with new images meanwhile, no pull failed, both nodes are members", pods), l.throughShoal("after-upgrade")
}

func drain(l *lab) (string, error) {
	i, err := l.push("public/drained", 8*mib)
	if err != nil {
		return "", err
	}
	if err := l.run(pod{name: "drained", node: "n2", image: i.tagged}); err != nil {
		return "", err
	}
	sent := l.registry.blobs(i.layer)
	if _, err := l.kubectl("drain", "n2", "--ignore-daemonsets", "--force", "--delete-emptydir-data", "--timeout=60s"); err != nil {
		return "", err
	}
	err = errors.Join(l.settled(), l.run(pod{name: "beside-drained", node: "n1", image: i.tagged}))
	if more := l.registry.blobs(i.layer) - sent; more != 0 {
		err = errors.Join(err, fmt.Errorf("the registry sent %d bytes of what the drained node has", more))
	}
	if left, getErr := l.kubectl("get", "pod", "drained", "--ignore-not-found", "-o", "name"); getErr != nil || left != "" {
		err = errors.Join(err, getErr, fmt.Errorf("not evicted: %q", left))
	}
	if _, uncordonErr := l.kubectl("uncordon", "n2"); uncordonErr != nil {
		err = errors.Join(err, uncordonErr)
	}
	if err = errors.Join(err, l.throughShoal("after-drain")); err != nil {
		return "", err
	}
	return "its pod is evicted; cordoned it serves the other node, which reads 0 bytes from the registry; then it pulls through Shoal", nil
}

func reboot(l *lab) (string, error) {
	n := l.nodes[1]
	n.powerOff()
	if err := l.awaitMembers(l.nodes[0], 0); err != nil {
		return "", err
	}
	i, err := l.push("public/alone", mib)
	if err != nil {
		return "", err
	}
	if err := l.run(pod{name: "alone", node: "n1", image: i.tagged}); err != nil {
		return "", err
	}
	if err := errors.Join(n.powerOn(), l.awaitNode(n), l.settled(), l.throughShoal("after-reboot")); err != nil {
		return "", err
	}
	return "alone the other node pulls; with the first it is a swarm again", nil
}

func scale(l *lab) (string, error) {
	n := l.nodes[1]
	n.powerOff()
	if _, err := l.kubectl("delete", "node", n.name); err != nil {
		return "", err
	}
	if err := errors.Join(l.rollout("shoal"), l.awaitMembers(l.nodes[0], 0)); err != nil {
		return "", err
	}
	if err := errors.Join(n.powerOn(), l.awaitNode(n), l.settled(), l.throughShoal("after-scale")); err != nil {
		return "", err
	}
	return "one node, then two, a swarm again", nil
}
