package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// The lab itself, with no Shoal in it: containerd pulls from the registry, and every
// part of the harness tells the truth about it.
func TestLabPull(t *testing.T) {
	lab := NewLab(t)
	image := lab.Registry.Push("app", 6*MiB, 2*MiB)
	node := lab.AddNode(NoMirror)
	before := node.Received()
	node.MustPull(image.Tagged)
	node.Check(image.Tagged, image)

	sent := lab.Registry.Bytes(Blobs, From(node.Address))
	if sent < image.Size() || sent > image.Size()+64<<10 {
		t.Errorf("the registry counted %d bytes of blobs, the layers have %d", sent, image.Size())
	}
	if cable := node.Received() - before; cable < sent || cable > sent*11/10 {
		t.Errorf("%d bytes came over the cable, the registry sent %d", cable, sent)
	}
	if asked := lab.Registry.Requests(From(node.Address)); len(asked) == 0 {
		t.Error("no request was recorded")
	}
	for _, r := range lab.Registry.Requests(From(node.Address)) {
		if !strings.HasPrefix(r.Agent, "containerd/") {
			t.Errorf("a request by %q", r.Agent)
		}
	}
}

func TestLabComparesFiles(t *testing.T) {
	requireSandbox(t)
	had := map[string]File{"a": {Size: 1}, "b": {Link: "a"}}
	for name, found := range map[string]map[string]File{
		"changed": {"a": {Size: 2}, "b": {Link: "a"}},
		"missing": {"a": {Size: 1}},
		"added":   {"a": {Size: 1}, "b": {Link: "a"}, "c": {}},
	} {
		if differences(had, found) == nil {
			t.Errorf("a file that was %s went unnoticed", name)
		}
	}
	if found := differences(had, had); found != nil {
		t.Errorf("differences between a list and itself: %q", found)
	}
}

func TestLabRegistryDown(t *testing.T) {
	lab := NewLab(t)
	image := lab.Registry.Push("app", MiB)
	node := lab.AddNode(NoMirror)
	lab.Registry.Down()
	if err := node.Pull(image.Tagged, nil); err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("a pull from a registry that is down: %v", err)
	}
	lab.Registry.Up()
	node.MustPull(image.Pinned)
	node.Check(image.Pinned, image)
}

func TestLabToken(t *testing.T) {
	owner, stranger, guest := testUsers()
	lab := NewPrivateLab(t, owner, stranger)
	image := lab.Registry.Push("private/app", MiB)
	node := lab.AddNode(NoMirror)
	for _, user := range []*User{nil, &stranger, &guest} {
		if err := node.Pull(image.Tagged, user); err == nil {
			t.Errorf("the private image went to %+v", user)
		}
	}
	if err := node.Pull(image.Tagged, &owner); err != nil {
		t.Error(err)
	}
	node.Check(image.Tagged, image)
}

// testUsers gives one who may read "private/app", one with a right password and no
// permission, and one with a wrong password.
func testUsers() (owner, stranger, guest User) {
	owner = User{Name: "owner", Password: "r1ght-passw0rd", Repositories: []string{"private/app"}}
	stranger = User{Name: "stranger", Password: "also right"}
	guest = User{Name: "owner", Password: "wrong"}
	return owner, stranger, guest
}

func TestLabFaults(t *testing.T) {
	lab := NewLab(t)
	image := lab.Registry.Push("app", 4*MiB)
	node := lab.AddNode(NoMirror)

	lab.Registry.SetFaults(Faults{Hold: 2 * MiB})
	pull := node.BeginPull(image.Tagged)
	Eventually(t, patience, "2 MiB to go out", func() error {
		return atLeast(lab.Registry.Bytes(Blobs, From(node.Address)), 2*MiB)
	})
	if sent := lab.Registry.Bytes(Blobs, From(node.Address)); sent != 2*MiB || pull.Ended() {
		t.Errorf("%d bytes passed the hold; ended: %v", sent, pull.Ended())
	}
	lab.Registry.SetFaults(Faults{Cut: 3 * MiB, Latency: 10 * time.Millisecond})
	if err := pull.Wait(); err != nil {
		t.Error(err)
	}
	node.Check(image.Tagged, image)
	if again := lab.Registry.Requests(Blobs, func(r Request) bool { return r.Range != "" }); len(again) == 0 {
		t.Error("no body was cut: containerd never asked for the rest of one")
	}
}

func TestLabShaping(t *testing.T) {
	for name, shape := range map[string]func(*Lab, *Node){
		"node":     func(_ *Lab, n *Node) { n.Shape("", "40mbit") },
		"registry": func(l *Lab, _ *Node) { l.Registry.Shape("40mbit") },
	} {
		t.Run(name, func(t *testing.T) {
			lab := NewLab(t)
			image := lab.Registry.Push("app", 4*MiB)
			node := lab.AddNode(NoMirror)
			shape(lab, node)
			began := time.Now()
			node.MustPull(image.Tagged)
			// 4 MiB alone take 0.8 s at that rate.
			if took := time.Since(began); took < 800*time.Millisecond {
				t.Errorf("4 MiB at 40 Mbit/s took %v", took)
			}
			node.Check(image.Tagged, image)
		})
	}
}

// atLeast is nil once n has reached want.
func atLeast(n, want int64) error {
	if n < want {
		return fmt.Errorf("%d of %d bytes", n, want)
	}
	return nil
}
