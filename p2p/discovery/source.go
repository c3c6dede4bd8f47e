package discovery

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

// maxResolved bounds the addresses that one name may stand for.
const maxResolved = 4096

// A Source is where first contacts are looked for: a host that may be a DNS name and then
// stands for all its addresses, a port, and the peer ID where it is known.
type Source struct {
	network string // "ip", "ip4" or "ip6": which addresses of a name count
	host    string
	port    uint16
	id      peer.ID
}

// ParseBootstrap reads HOST:PORT, DNSNAME:PORT, or a multiaddr over TCP with or without a
// peer ID. Its errors are one sentence.
func ParseBootstrap(s string) (Source, error) {
	parse := parseHostPort
	if strings.HasPrefix(s, "/") {
		parse = parseMultiaddr
	}
	source, err := parse(s)
	if err == nil && source.port == 0 {
		err = errors.New("its port is 0")
	}
	if err != nil {
		return Source{}, fmt.Errorf("cannot bootstrap from %q: %w", s, err)
	}
	return source, nil
}

func parseHostPort(s string) (Source, error) {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return Source{}, errors.New("it is neither HOST:PORT nor a multiaddr")
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return Source{}, errors.New("its port is not a number from 1 to 65535")
	}
	if _, err := netip.ParseAddr(host); err != nil && !validName(host) {
		return Source{}, errors.New("its host is neither an IP address nor a DNS name")
	}
	return Source{network: "ip", host: host, port: uint16(number)}, nil
}

func parseMultiaddr(s string) (Source, error) {
	addr, err := ma.NewMultiaddr(s)
	if err != nil {
		return Source{}, errors.New("it is not a multiaddr")
	}
	source := Source{}
	if len(addr) == 3 && addr[2].Protocol().Code == ma.P_P2P {
		if source.id, err = peer.IDFromBytes(addr[2].RawValue()); err != nil {
			return Source{}, errors.New("its peer ID is malformed")
		}
		addr = addr[:2]
	}
	networks := map[int]string{ma.P_IP4: "ip4", ma.P_IP6: "ip6", ma.P_DNS: "ip", ma.P_DNS4: "ip4", ma.P_DNS6: "ip6"}
	if len(addr) != 2 || networks[addr[0].Protocol().Code] == "" || addr[1].Protocol().Code != ma.P_TCP {
		return Source{}, errors.New("only /ip4, /ip6, /dns, /dns4 or /dns6 with /tcp/PORT and perhaps /p2p/ID is spoken")
	}
	source.network, source.host = networks[addr[0].Protocol().Code], addr[0].Value()
	if strings.HasPrefix(addr[0].Protocol().Name, "dns") && !validName(source.host) {
		return Source{}, errors.New("its host is not a DNS name")
	}
	port, err := strconv.ParseUint(addr[1].Value(), 10, 16)
	if err != nil {
		return Source{}, errors.New("its port is not a number from 1 to 65535")
	}
	source.port = uint16(port)
	return source, nil
}

// validName accepts what can be a DNS name, and "localhost".
func validName(s string) bool {
	s = strings.TrimSuffix(s, ".")
	if s == "" || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, c := range []byte(label) {
			if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
				return false
			}
		}
	}
	return true
}

// String is what people recognise the source by.
func (s Source) String() string { return net.JoinHostPort(s.host, strconv.Itoa(int(s.port))) }

// A Resolver looks names up; *net.Resolver is one.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// candidate is an address worth dialling, with the peer ID where it is known.
type candidate struct {
	id    peer.ID
	addrs []ma.Multiaddr
}

// resolve returns a candidate for every address that the source stands for now.
func (s Source) resolve(ctx context.Context, resolver Resolver) ([]candidate, error) {
	ips := []netip.Addr{}
	if ip, err := netip.ParseAddr(s.host); err == nil {
		ips = append(ips, ip)
	} else if ips, err = resolver.LookupNetIP(ctx, s.network, s.host); err != nil {
		return nil, fmt.Errorf("look up %s: %w", s.host, err)
	}
	candidates := make([]candidate, 0, len(ips))
	var all []ma.Multiaddr
	for _, ip := range ips[:min(len(ips), maxResolved)] {
		addr, err := manet.FromNetAddr(net.TCPAddrFromAddrPort(netip.AddrPortFrom(ip.Unmap(), s.port)))
		if err != nil {
			continue
		}
		all = append(all, addr)
		candidates = append(candidates, candidate{addrs: []ma.Multiaddr{addr}})
	}
	if s.id != "" && len(all) > 0 {
		return []candidate{{id: s.id, addrs: all}}, nil
	}
	return candidates, nil
}
