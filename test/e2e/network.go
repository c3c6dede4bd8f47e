package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// A network is one lab's bridge inside the sandbox. Every node hangs on it by a pair
// of virtual cables, and the registry by one more as number 0; there is no route to any
// other network.
type network struct {
	index int // 1 to 254, unique among the labs that exist at this moment
}

// registryNode is the registry's number: it has a namespace and a cable of its own, so
// that its link can be as slow as anybody's.
const registryNode = 0

// lanHost is the last number of the lab's own address, that of the bridge.
const lanHost = 1

// newNetwork makes a bridge with the address 10.77.<index>.1.
func newNetwork() (network, error) {
	var err error
	for index := 1; index < 255; index++ {
		n := network{index: index}
		// With an address of its own: a bridge without one takes over that of a new port,
		// and for seconds nobody who knew the old one reaches it.
		mac := fmt.Sprintf("02:00:0a:4d:%02x:01", index)
		if err = command("ip", "link", "add", n.bridge(), "address", mac, "type", "bridge"); err != nil {
			continue // another lab has it
		}
		return n, n.batch("",
			"addr add "+n.address(lanHost)+"/24 dev "+n.bridge(),
			"link set "+n.bridge()+" up")
	}
	return network{}, fmt.Errorf("no free network: %w", err)
}

func (n network) bridge() string          { return fmt.Sprintf("br%d", n.index) }
func (n network) address(host int) string { return fmt.Sprintf("10.77.%d.%d", n.index, host) }
func (n network) netns(node int) string   { return fmt.Sprintf("lab%d-n%d", n.index, node) }
func (n network) cable(node int) string   { return fmt.Sprintf("v%d-%d", n.index, node) }

// host is the last number of a node's address.
func (n network) host(node int) int { return 10 + node }

// addNode makes the namespace of a node, its cable, its address and its one route. The
// route names the congestion control that kernels come with: what a pull takes must not
// hang on the setting of the machine that plays all the others.
func (n network) addNode(node int) error {
	ns, cable, address := n.netns(node), n.cable(node), n.address(n.host(node))
	return errors.Join(
		n.batch("",
			"netns add "+ns,
			"link add "+cable+" type veth peer name eth0 netns "+ns,
			"link set "+cable+" master "+n.bridge()+" up"),
		n.batch(ns,
			"link set lo up",
			"addr add "+address+"/24 dev eth0 noprefixroute",
			"link set eth0 up",
			"route add "+n.address(0)+"/24 dev eth0 src "+address+" congctl cubic"))
}

// removeNode undoes addNode. The namespace itself lives until its last process ends.
func (n network) removeNode(node int) error {
	return errors.Join(
		command("ip", "link", "del", n.cable(node)),
		command("ip", "netns", "del", n.netns(node)))
}

func (n network) remove() error { return command("ip", "link", "del", n.bridge()) }

// batch runs ip commands in the namespace ns, or in the sandbox's own.
func (n network) batch(ns string, lines ...string) error {
	for _, line := range lines {
		args := strings.Fields(line)
		if ns != "" {
			args = append([]string{"-n", ns}, args...)
		}
		if err := command("ip", args...); err != nil {
			return err
		}
	}
	return nil
}

// shape limits what a node sends and what it receives, in the words of tc ("40mbit").
// An empty rate leaves that direction as fast as the machine.
func (n network) shape(node int, send, receive string) error {
	var errs []error
	limit := func(rate string, where ...string) {
		if rate == "" {
			return
		}
		args := append(where[:len(where)-1:len(where)-1], "qdisc", "replace", "dev", where[len(where)-1],
			"root", "tbf", "rate", rate, "burst", "128kb", "latency", "100ms")
		errs = append(errs, command("tc", args...))
	}
	limit(send, "-n", n.netns(node), "eth0")
	limit(receive, n.cable(node))
	return errors.Join(errs...)
}

// unplug takes the node's cable off the bridge; the node itself sees its link up.
func (n network) unplug(node int) error {
	return command("ip", "link", "set", n.cable(node), "nomaster")
}

// received is the number of bytes that have come to a node over its cable, headers of
// every layer included, whoever sent them.
func (n network) received(node int) (int64, error) {
	// The lab's end of the cable transmits what the node receives.
	return interfaceCounter(n.cable(node), 8)
}

// interfaceCounter reads one column of the interfaces' table, as described in proc(5).
func interfaceCounter(name string, column int) (int64, error) {
	// Not /proc/net, which is that of the first thread: dialIn may have sent it elsewhere.
	f, err := os.Open("/proc/thread-self/net/dev")
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Close() }()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		dev, counters, ok := strings.Cut(lines.Text(), ":")
		if !ok || strings.TrimSpace(dev) != name {
			continue
		}
		columns := strings.Fields(counters)
		if column >= len(columns) {
			break
		}
		return strconv.ParseInt(columns[column], 10, 64)
	}
	return 0, errors.Join(fmt.Errorf("no counters for interface %s", name), lines.Err())
}
