package e2e

import (
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

// RegistryNode is the registry's number: it has a namespace and a cable of its own, so
// that its link can be as slow as anybody's.
const RegistryNode = 0

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

// addNode makes the namespace of a node, its cable, its address and its routes. These name
// the congestion control that kernels come with: what a pull takes must not hang on the
// setting of the machine that plays all the others.
func (n network) addNode(node int) error {
	ns, cable, address := n.netns(node), n.cable(node), n.address(n.host(node))
	return errors.Join(
		n.batch("",
			"netns add "+ns,
			"link add "+cable+" type veth peer name eth0 netns "+ns,
			"link set "+cable+" master "+n.bridge()+" up"),
		n.batch(ns,
			"link set lo up",
			"route replace local 127.0.0.1 dev lo table local src 127.0.0.1 congctl cubic",
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

// The shaping of a link (tc-tbf(8)). The burst is two of the 64 KiB packets that virtual
// cables carry, which would be cut up if it were smaller; at 100 Mbit/s it is 10 ms, so
// that a timer that a busy machine serves late costs no throughput. What waits longer than
// the latency is dropped: 25 ms at 100 Mbit/s are 300 KiB, the buffer of a switch's port.
// TCP fills such a link to 95 % of its rate with bytes of payload, and the rest is headers.
const (
	shapingBurst   = "128kb"
	shapingLatency = "25ms"
)

// shape limits what a node sends and what it receives, in the words of tc ("40mbit").
// An empty rate leaves that direction as it is, which is at first as fast as the machine.
func (n network) shape(node int, send, receive string) error {
	var errs []error
	limit := func(rate string, where ...string) {
		if rate == "" {
			return
		}
		args := append(where[:len(where)-1:len(where)-1], "qdisc", "replace", "dev", where[len(where)-1],
			"root", "tbf", "rate", rate, "burst", shapingBurst, "latency", shapingLatency)
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

// replug undoes unplug.
func (n network) replug(node int) error {
	return command("ip", "link", "set", n.cable(node), "master", n.bridge())
}

// isolate unplugs the node and ends every connection that it has, on its loopback as well, as
// if all others had died (ss(8), -K).
func (n network) isolate(node int) error {
	return errors.Join(
		n.unplug(node),
		command("ss", "-N", n.netns(node), "-K", "-t", "state", "connected"))
}

// A Traffic is what has gone over a cable: bytes, with the headers of every layer.
type Traffic struct {
	Received, Sent int64 // by the node
}

// traffic reads the counters of the cables of all nodes from 0 to last, as described in
// proc(5).
func (n network) traffic(last int) ([]Traffic, error) {
	// Not /proc/net, which is that of the first thread: inNamespace may have sent it elsewhere.
	table, err := os.ReadFile("/proc/thread-self/net/dev")
	if err != nil {
		return nil, err
	}
	columns := make(map[string][]string)
	for line := range strings.Lines(string(table)) {
		if name, counters, ok := strings.Cut(line, ":"); ok {
			columns[strings.TrimSpace(name)] = strings.Fields(counters)
		}
	}
	all := make([]Traffic, last+1)
	for node := range all {
		counters := columns[n.cable(node)]
		if len(counters) < 9 {
			return nil, fmt.Errorf("no counters for the cable %s", n.cable(node))
		}
		// The lab's end of the cable receives what the node sends.
		sent, sentErr := strconv.ParseInt(counters[0], 10, 64)
		received, receivedErr := strconv.ParseInt(counters[8], 10, 64)
		if err := errors.Join(sentErr, receivedErr); err != nil {
			return nil, err
		}
		all[node] = Traffic{Received: received, Sent: sent}
	}
	return all, nil
}
