package discovery

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
)

const somePeer = "12D3KooWJWoaqZhDaoEFshF7Rh1bpY9ohihFhzcW6d69Lr2NASuq"

func TestParseBootstrap(t *testing.T) {
	for _, c := range []struct{ in, want, network string }{
		{"127.0.0.1:6051", "127.0.0.1:6051", "ip"},
		{"[::1]:6051", "[::1]:6051", "ip"},
		{"shoal.kube-system.svc.cluster.local:6051", "shoal.kube-system.svc.cluster.local:6051", "ip"},
		{"localhost:1", "localhost:1", "ip"},
		{"a_b.example.:1", "a_b.example.:1", "ip"},
		{"/ip4/10.0.0.1/tcp/6051", "10.0.0.1:6051", "ip4"},
		{"/ip6/::1/tcp/6051/p2p/" + somePeer, "[::1]:6051", "ip6"},
		{"/dns/a.example/tcp/1", "a.example:1", "ip"},
		{"/dns4/a.example/tcp/1", "a.example:1", "ip4"},
		{"/dns6/a.example/tcp/1/p2p/" + somePeer, "a.example:1", "ip6"},
	} {
		got, err := ParseBootstrap(c.in)
		if err != nil || got.String() != c.want || got.network != c.network {
			t.Errorf("ParseBootstrap(%q) = %v on %q, %v", c.in, got, got.network, err)
		}
		if (got.id != "") != strings.Contains(c.in, "/p2p/") {
			t.Errorf("ParseBootstrap(%q) has peer %q", c.in, got.id)
		}
	}
	for _, bad := range []string{
		"", ":6051", "host", "host:", "host:0", "host:65536", "host:http", "::1:6051", "-a:1", "a..b:1", "a b:1", "http://a:1",
		"/", "/ip4/10.0.0.1", "/ip4/10.0.0.1/udp/1", "/ip4/10.0.0.1/tcp/0", "/ip4/10.0.0.1/tcp/1/ws", "/ip4/x/tcp/1", "/p2p/" + somePeer,
		"/ip4/10.0.0.1/tcp/1/p2p/x", "/dnsaddr/a.example/tcp/1", "/dns/-/tcp/1", "/ip4/10.0.0.1/tcp/1/p2p/" + somePeer + "/p2p-circuit",
		strings.Repeat("a", 300) + ":1",
	} {
		if got, err := ParseBootstrap(bad); err == nil {
			t.Errorf("ParseBootstrap(%q) = %+v", bad, got)
		} else if strings.Contains(err.Error(), "\n") || !strings.HasPrefix(err.Error(), "cannot bootstrap from ") {
			t.Errorf("ParseBootstrap(%q): %v", bad, err)
		}
	}
}

func FuzzParseBootstrap(f *testing.F) {
	for _, s := range []string{"a:1", "[::1]:2", "/ip4/1.2.3.4/tcp/5", "/dns/x/tcp/1/p2p/" + somePeer} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		source, err := ParseBootstrap(s)
		if err != nil {
			return
		}
		if source.port == 0 || source.host == "" {
			t.Fatalf("%q: %+v", s, source)
		}
		if _, err := source.resolve(t.Context(), names{}); err != nil && !errors.Is(err, errNoSuchName) {
			t.Fatalf("%q: %v", s, err)
		}
	})
}

var errNoSuchName = errors.New("no such name")

type names map[string][]string

func (n names) LookupNetIP(_ context.Context, network, host string) ([]netip.Addr, error) {
	var out []netip.Addr
	for _, s := range n[host] {
		ip := netip.MustParseAddr(s)
		if network == "ip" || ip.Is4() == (network == "ip4") {
			out = append(out, ip)
		}
	}
	if len(out) == 0 {
		return nil, errNoSuchName
	}
	return out, nil
}

func TestResolve(t *testing.T) {
	dns := names{"swarm.example": {"10.0.0.1", "10.0.0.2", "fd00::1"}}
	for in, want := range map[string][]string{
		"swarm.example:7":                          {"/ip4/10.0.0.1/tcp/7", "/ip4/10.0.0.2/tcp/7", "/ip6/fd00::1/tcp/7"},
		"/dns4/swarm.example/tcp/7":                {"/ip4/10.0.0.1/tcp/7", "/ip4/10.0.0.2/tcp/7"},
		"/dns6/swarm.example/tcp/7":                {"/ip6/fd00::1/tcp/7"},
		"192.0.2.1:7":                              {"/ip4/192.0.2.1/tcp/7"},
		"[::ffff:192.0.2.1]:7":                     {"/ip4/192.0.2.1/tcp/7"},
		"/dns/swarm.example/tcp/7/p2p/" + somePeer: {"/ip4/10.0.0.1/tcp/7", "/ip4/10.0.0.2/tcp/7", "/ip6/fd00::1/tcp/7"},
	} {
		source, err := ParseBootstrap(in)
		if err != nil {
			t.Fatal(err)
		}
		got, err := source.resolve(t.Context(), dns)
		if err != nil {
			t.Errorf("%s: %v", in, err)
		}
		var addrs []string
		for _, c := range got {
			for _, a := range c.addrs {
				addrs = append(addrs, a.String())
			}
		}
		if strings.Join(addrs, " ") != strings.Join(want, " ") || source.id != "" && len(got) != 1 {
			t.Errorf("%s: %v in %d candidates", in, addrs, len(got))
		}
	}
	source, err := ParseBootstrap("other.example:7")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := source.resolve(t.Context(), dns); !errors.Is(err, errNoSuchName) {
		t.Error(err)
	}
}
