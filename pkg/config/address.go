package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/multiformats/go-multiaddr"
)

const (
	hostMax = 253 // RFC 1035, section 2.3.4, without the root's dot
	portMax = 65535
)

// checkHostPort accepts what a server can listen on: IP:PORT, localhost:PORT, :PORT.
func checkHostPort(address string) error {
	host, p, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("%q is not HOST:PORT, like 127.0.0.1:6050", address)
	}
	if host != "" && host != "localhost" {
		if _, err := netip.ParseAddr(host); err != nil {
			return fmt.Errorf("%q: the host must be an IP address or localhost", address)
		}
	}
	if n, err := strconv.ParseUint(p, 10, 32); err != nil || n > portMax {
		return fmt.Errorf("%q: the port must be a number up to %d", address, portMax)
	}
	return nil
}

// isLoopback reports whether only this machine reaches address, which checkHostPort accepted.
func isLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

func port(address string) string {
	_, p, err := net.SplitHostPort(address)
	if err != nil {
		return ""
	}
	return p
}

func checkListenMultiaddr(address string) error {
	m, err := multiaddr.NewMultiaddr(address)
	if err != nil {
		return fmt.Errorf("%q is not a multiaddr like /ip4/0.0.0.0/tcp/6051", address)
	}
	protocols := m.Protocols()
	if len(protocols) != 2 || protocols[1].Code != multiaddr.P_TCP ||
		(protocols[0].Code != multiaddr.P_IP4 && protocols[0].Code != multiaddr.P_IP6) {
		return fmt.Errorf("%q must be an IP address and a TCP port, like /ip4/0.0.0.0/tcp/6051", address)
	}
	return nil
}

// checkBootstrap accepts HOST:PORT, where HOST may be a DNS name that means many
// nodes, and multiaddrs.
func checkBootstrap(address string) error {
	if strings.HasPrefix(address, "/") {
		if _, err := multiaddr.NewMultiaddr(address); err != nil {
			return fmt.Errorf("%q is not a multiaddr like /ip4/10.0.0.7/tcp/6051", address)
		}
		return nil
	}
	host, p, err := net.SplitHostPort(address)
	if err != nil || host == "" {
		return fmt.Errorf("%q is neither HOST:PORT nor a multiaddr", address)
	}
	if _, err := netip.ParseAddr(host); err != nil && !isHostName(host) {
		return fmt.Errorf("%q: %q is neither an IP address nor a DNS name", address, host)
	}
	if n, err := strconv.ParseUint(p, 10, 32); err != nil || n == 0 || n > portMax {
		return fmt.Errorf("%q: the port must be a number from 1 to %d", address, portMax)
	}
	return nil
}

// isHostName accepts the letters of a DNS name, and underscores, which resolvers do.
func isHostName(host string) bool {
	if len(host) > hostMax+1 || host == "." {
		return false
	}
	for label := range strings.SplitSeq(strings.TrimSuffix(host, "."), ".") {
		if label == "" || len(label) > 63 || strings.ContainsFunc(label, notHostRune) {
			return false
		}
	}
	return true
}

func notHostRune(r rune) bool { return !isAlphanumeric(r) && r != '-' && r != '_' }

// checkRegistry accepts a registry as image names write it.
func checkRegistry(registry string) error {
	host, p := registry, ""
	if h, q, err := net.SplitHostPort(registry); err == nil {
		host, p = h, q
	}
	_, notIP := netip.ParseAddr(strings.Trim(host, "[]"))
	if notIP != nil && !isHostName(host) || strings.ToLower(registry) != registry {
		return fmt.Errorf("%q is not a registry as image names write it, like docker.io or registry.example:5000", registry)
	}
	if n, err := strconv.ParseUint(p, 10, 32); p != "" && (err != nil || n == 0 || n > portMax) {
		return fmt.Errorf("%q: the port must be a number from 1 to %d", registry, portMax)
	}
	return nil
}

// checkUpstream accepts a registry as image names write it and the scheme, host and
// port where it is.
func checkUpstream(registry, address string) error {
	if err := checkRegistry(registry); err != nil {
		return err
	}
	u, err := url.Parse(address)
	switch { // the address is not repeated: it may hold a password
	case err == nil && u.User != nil:
		return fmt.Errorf("%s: the URL must not hold a user or password; clients send their own credentials", registry)
	case err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Hostname() == "":
		return fmt.Errorf("%s: the URL must be like https://mirror.example", registry)
	case u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return fmt.Errorf("%s: the URL must end after the host and port", registry)
	}
	return nil
}
