package main

import (
	"errors"
	"fmt"
	"strings"
)

const mib = 1 << 20

// pullTwice runs an image on the first node and then on the second, and returns what the
// registry sent of its own layer for each.
func (l *lab) pullTwice(name string, i image, reference string) (first, second int64, err error) {
	if err := l.run(pod{name: name + "-1", node: "n1", image: reference}); err != nil {
		return 0, 0, err
	}
	first = l.registry.blobs(i.layer)
	if err := l.run(pod{name: name + "-2", node: "n2", image: reference}); err != nil {
		return 0, 0, err
	}
	return first, l.registry.blobs(i.layer) - first, nil
}

// shared is a case of one image on both nodes.
func (l *lab) shared(name string, reference func(image) string) (string, error) {
	i, err := l.push("public/"+name, 8*mib)
	if err != nil {
		return "", err
	}
	first, second, err := l.pullTwice(name, i, reference(i))
	if err != nil {
		return "", err
	}
	if first != i.size || second != 0 {
		return "", fmt.Errorf("the registry sent %d and then %d bytes of a layer of %d", first, second, i.size)
	}
	return fmt.Sprintf("the registry sent the layer of %.1f MiB once, and 0 bytes of it for the second node", float64(i.size)/mib), nil
}

func byTag(l *lab) (string, error) {
	return l.shared("by-tag", func(i image) string { return i.tagged })
}

func byDigest(l *lab) (string, error) {
	return l.shared("by-digest", func(i image) string { return i.pinned })
}

func pullAlways(l *lab) (string, error) {
	i, err := l.push("public/always", mib)
	if err != nil {
		return "", err
	}
	for _, name := range []string{"always-1", "always-2"} {
		if err := l.run(pod{name: name, node: "n1", image: i.tagged, policy: "Always"}); err != nil {
			return "", err
		}
	}
	if sent := l.registry.blobs(i.layer); sent != i.size {
		return "", fmt.Errorf("the registry sent %d bytes of a layer of %d", sent, i.size)
	}
	return "twice on one node, the layer read once", nil
}

func pullNever(l *lab) (string, error) {
	i, err := l.push("public/never", mib)
	if err != nil {
		return "", err
	}
	if err := l.run(pod{name: "never-1", node: "n1", image: i.tagged}); err != nil {
		return "", err
	}
	if err := l.run(pod{name: "never-2", node: "n1", image: i.tagged, policy: "Never"}); err != nil {
		return "", err
	}
	if err := l.refused(pod{name: "never-3", node: "n2", image: i.tagged, policy: "Never"}, "ErrImageNeverPull"); err != nil {
		return "", err
	}
	return "runs where the image is, ErrImageNeverPull where it is not", nil
}

// refused creates a pod that has to end up with a reason for its image.
func (l *lab) refused(p pod, reason string) error {
	if err := l.create(p); err != nil {
		return err
	}
	return l.eventually("pod "+p.name+" to be refused", func() error {
		var s podStatus
		if err := l.object(&s, "pod", p.name); err != nil {
			return err
		}
		if got, message := s.waiting(); got != reason {
			return fmt.Errorf("%s: %q, %s", s.Status.Phase, got, message)
		}
		return nil
	})
}

// login makes a Secret with a password for the registry.
func (l *lab) login(name, word string) error {
	_, err := l.kubectl("create", "secret", "docker-registry", name, "--docker-server="+registryAddress,
		"--docker-username="+privateUser, "--docker-password="+word)
	return err
}

func privatePod(l *lab) (string, error) {
	i, err := l.push("private/pod", 4*mib)
	if err != nil {
		return "", err
	}
	if err := l.login("right", privateWord); err != nil {
		return "", err
	}
	for k, node := range []string{"n1", "n2"} {
		if err := l.run(pod{name: fmt.Sprintf("private-%d", k+1), node: node, image: i.tagged, secrets: []string{"right"}}); err != nil {
			return "", err
		}
	}
	if sent := l.registry.blobs(i.layer); sent != i.size {
		return "", fmt.Errorf("the registry sent %d bytes of a layer of %d", sent, i.size)
	}
	other, err := l.push("private/other", mib)
	if err != nil {
		return "", err
	}
	if err := l.run(pod{name: "private-3", node: "n1", image: other.tagged, secrets: []string{"right"}}); err != nil {
		return "", err
	}
	// Its layers lie on the first node, and the second has nobody who may ask for them.
	if err := l.refused(pod{name: "private-4", node: "n2", image: other.tagged}, "ErrImagePull"); err != nil {
		return "", err
	}
	return "the layer read once for both nodes; without a secret ErrImagePull", nil
}

func privateAccount(l *lab) (string, error) {
	i, err := l.push("private/account", mib)
	if err != nil {
		return "", err
	}
	_, accountErr := l.kubectl("create", "serviceaccount", "puller")
	err = errors.Join(accountErr, l.login("of-account", privateWord))
	if err != nil {
		return "", err
	}
	if _, err := l.kubectl("patch", "serviceaccount", "puller", "-p", `{"imagePullSecrets": [{"name": "of-account"}]}`); err != nil {
		return "", err
	}
	if err := l.run(pod{name: "account-1", node: "n2", image: i.tagged, account: "puller"}); err != nil {
		return "", err
	}
	return "runs with the secret of its account", nil
}

func privateSecond(l *lab) (string, error) {
	i, err := l.push("private/second", mib)
	if err != nil {
		return "", err
	}
	if err := errors.Join(l.login("first-wrong", "not-it"), l.login("second-right", privateWord)); err != nil {
		return "", err
	}
	for k, node := range []string{"n1", "n2"} {
		if err := l.run(pod{name: fmt.Sprintf("second-%d", k+1), node: node, image: i.tagged, secrets: []string{"first-wrong", "second-right"}}); err != nil {
			return "", err
		}
	}
	return "runs on both nodes, though the first secret is refused", nil
}

func registryDown(l *lab) (string, error) {
	i, err := l.push("public/down", 4*mib)
	if err != nil {
		return "", err
	}
	if err := l.run(pod{name: "down-1", node: "n1", image: i.tagged}); err != nil {
		return "", err
	}
	if err := l.registry.setDown(true); err != nil {
		return "", err
	}
	runErr := errors.Join(
		l.run(pod{name: "down-2", node: "n2", image: i.tagged}),
		l.refused(pod{name: "down-3", node: "n2", image: registryAddress + "/public/nobody-has-it:1"}, "ErrImagePull"))
	if err := errors.Join(runErr, l.registry.setDown(false)); err != nil {
		return "", err
	}
	events, err := l.kubectl("get", "events", "--field-selector", "involvedObject.name=down-2,reason=Pulled", "-o", "jsonpath={.items[*].message}")
	if err != nil || !strings.Contains(events, "Successfully pulled") {
		return "", fmt.Errorf("down-2: %q, %w", events, err)
	}
	return "by tag on the node that never had it; what nobody has is refused", nil
}
