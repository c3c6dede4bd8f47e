package p2p

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/shoal-project/shoal/p2p/admission"
)

const (
	// DefaultListen is where other members reach this node, unless configured otherwise.
	DefaultListen = "/ip4/0.0.0.0/tcp/6051"
	// DefaultMaxMembers is how many members a node stays connected to: all of a cluster of a
	// thousand, since a blob's readers send to everybody. A connection takes 46 KiB at each end.
	DefaultMaxMembers = 1280
	// DefaultDialTimeout bounds the wait for a TCP connection: the design's one second.
	DefaultDialTimeout = time.Second

	maxListen = 16
)

// A Config says how the host runs. Its zero value, but for Secrets, is a working host; without
// Secrets it runs alone.
type Config struct {
	// DataDir is the folder that keeps the node's identity. Empty means a new one each time.
	DataDir string
	// Listen are the multiaddrs to listen on, /ip4/A/tcp/PORT or /ip6/A/tcp/PORT. None means
	// DefaultListen.
	Listen []string
	// Announce are the multiaddrs that others are told, where those of the network
	// interfaces do not lead here. None means: the interfaces'.
	Announce []string
	// Secrets are those of the swarm that are valid now. None means that the host runs
	// alone: it neither listens nor dials.
	Secrets []admission.Secret
	// Version and Zone are told to other members. An empty Version means "devel", an empty
	// Zone that none is known.
	Version, Zone string
	// MaxMembers is how many connections are kept before idle ones are closed. 0 means
	// DefaultMaxMembers.
	MaxMembers int
	// DialTimeout bounds the wait for a TCP connection. 0 means DefaultDialTimeout.
	DialTimeout time.Duration
	// HandshakeTimeout bounds admission, on both sides. 0 means admission.DefaultTimeout.
	HandshakeTimeout time.Duration
	// HalfOpen is how many accepted connections may wait for admission at once. 0 means
	// admission.DefaultHalfOpen.
	HalfOpen int
	// Around is given the libp2p host before any protocol runs on it, and returns the one that
	// they run on: whatever members say to each other can be watched or changed there. Nil
	// means the host itself.
	Around func(host.Host) host.Host
	// Logger takes what is worth telling. Nil means nothing is.
	Logger *slog.Logger
}

// Validate reports what is wrong with the configuration, in one sentence.
func (c Config) Validate() error {
	if len(c.Listen) > maxListen || len(c.Announce) > maxListen {
		return fmt.Errorf("more than %d addresses to listen on or to announce", maxListen)
	}
	for _, s := range c.Listen {
		if _, err := ParseListen(s); err != nil {
			return err
		}
	}
	for _, s := range c.Announce {
		if _, err := parseAnnounce(s); err != nil {
			return err
		}
	}
	if c.Zone != "" && !validWord(c.Zone, maxZone) {
		return fmt.Errorf("the zone %q is not 1 to %d letters, digits, dots, dashes and underscores", c.Zone, maxZone)
	}
	if c.MaxMembers < 0 || c.HalfOpen < 0 || c.DialTimeout < 0 || c.HandshakeTimeout < 0 {
		return errors.New("a limit or a timeout of the p2p host is negative")
	}
	return admission.Config{Secrets: c.Secrets}.Validate()
}

func (c Config) withDefaults() Config {
	if len(c.Listen) == 0 {
		c.Listen = []string{DefaultListen}
	}
	if c.MaxMembers == 0 {
		c.MaxMembers = DefaultMaxMembers
	}
	if c.DialTimeout == 0 {
		c.DialTimeout = DefaultDialTimeout
	}
	if c.HandshakeTimeout == 0 {
		c.HandshakeTimeout = admission.DefaultTimeout
	}
	if c.HalfOpen == 0 {
		c.HalfOpen = admission.DefaultHalfOpen
	}
	if c.Around == nil {
		c.Around = func(h host.Host) host.Host { return h }
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// ParseListen reads a multiaddr that this host can listen on.
func ParseListen(s string) (ma.Multiaddr, error) {
	addr, err := parseTCP(s)
	if err != nil {
		return nil, fmt.Errorf("cannot listen on %q: %w", s, err)
	}
	return addr, nil
}

func parseAnnounce(s string) (ma.Multiaddr, error) {
	addr, err := parseTCP(s)
	if err != nil {
		return nil, fmt.Errorf("cannot announce %q: %w", s, err)
	}
	if manet.IsIPUnspecified(addr) {
		return nil, fmt.Errorf("cannot announce %q: it names every interface and so no address", s)
	}
	return addr, nil
}

func parseTCP(s string) (ma.Multiaddr, error) {
	addr, err := ma.NewMultiaddr(s)
	if err != nil {
		return nil, errors.New("it is not a multiaddr like /ip4/0.0.0.0/tcp/6051")
	}
	network, hostPort, err := manet.DialArgs(addr)
	if err != nil || (network != "tcp4" && network != "tcp6") || len(addr) != 2 || !manet.IsThinWaist(addr) {
		return nil, errors.New("only /ip4/ADDRESS/tcp/PORT and /ip6/ADDRESS/tcp/PORT are spoken")
	}
	_, port, err := net.SplitHostPort(hostPort)
	if err != nil {
		return nil, errors.New("it has no port")
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return nil, errors.New("its port is no number")
	}
	return addr, nil
}

// advertised keeps the addresses worth telling others: loopback only if there is nothing
// else (a demo on one machine), and link-local never, for it means nothing elsewhere.
func advertised(addrs []ma.Multiaddr) []ma.Multiaddr {
	var far, near []ma.Multiaddr
	for _, a := range addrs {
		switch {
		case manet.IsIPUnspecified(a) || manet.IsIP6LinkLocal(a):
		case manet.IsIPLoopback(a):
			near = append(near, a)
		default:
			far = append(far, a)
		}
	}
	if len(far) > 0 {
		return far
	}
	return near
}
