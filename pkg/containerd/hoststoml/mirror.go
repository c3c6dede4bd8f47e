package hoststoml

import (
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

const localhost = "localhost"

// A Mirror is where this node's proxy answers clients: plain HTTP on a loopback address.
// The zero value is no mirror.
type Mirror struct {
	host string // an IP address without brackets, or localhost
	port uint16
}

// ParseMirror reads HOST:PORT, where HOST is a loopback address or localhost: whoever
// else reached the proxy could pull as this node's users.
func ParseMirror(address string) (Mirror, error) {
	written := url.URL{Host: address}
	host := written.Hostname()
	port, err := strconv.ParseUint(written.Port(), 10, 16)
	if host == "" || err != nil || port == 0 {
		return Mirror{}, fmt.Errorf("%q is not HOST:PORT with a port from 1 to 65535, like 127.0.0.1:6050", shorten(address))
	}
	if host == localhost {
		return Mirror{host: localhost, port: uint16(port)}, nil
	}
	ip, err := netip.ParseAddr(host)
	if err != nil || !ip.Unmap().IsLoopback() || ip.Zone() != "" {
		return Mirror{}, fmt.Errorf("%q is not on loopback; containerd must reach the proxy there, as at 127.0.0.1:6050", shorten(address))
	}
	return Mirror{host: ip.Unmap().String(), port: uint16(port)}, nil
}

// Address is HOST:PORT.
func (m Mirror) Address() string {
	if strings.Contains(m.host, ":") {
		return fmt.Sprintf("[%s]:%d", m.host, m.port)
	}
	return fmt.Sprintf("%s:%d", m.host, m.port)
}

// URL is how hosts.toml names the mirror.
func (m Mirror) URL() string { return "http://" + m.Address() }

// Is reports whether h is this mirror, however it is spelled. Localhost is both loopback
// addresses.
func (m Mirror) Is(h Host) bool {
	if h.Scheme != "http" || h.Path != "/v2" {
		return false
	}
	host, port := h.hostPort()
	if port != strconv.Itoa(int(m.port)) {
		return false
	}
	return host == m.host || isLocal(host) && isLocal(m.host) && (host == localhost || m.host == localhost)
}

// isLocal reports whether localhost may mean host.
func isLocal(host string) bool { return host == localhost || host == "127.0.0.1" || host == "::1" }

// OnLoopback reports whether h is plain HTTP on a loopback address: a mirror on this
// node, be it Shoal's or another.
func (h Host) OnLoopback() bool {
	if h.Scheme != "http" {
		return false
	}
	host, _ := h.hostPort()
	ip, err := netip.ParseAddr(host)
	return host == localhost || err == nil && ip.Unmap().IsLoopback()
}

// hostPort splits the authority as containerd's HTTP client does: port 80 unless named.
func (h Host) hostPort() (host, port string) {
	written := url.URL{Host: h.Authority}
	if host, port = written.Hostname(), written.Port(); port == "" {
		port = "80"
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.Unmap().String(), port
	}
	return strings.ToLower(host), port
}
