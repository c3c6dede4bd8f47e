package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"

	"github.com/shoal-project/shoal/p2p"
	"github.com/shoal-project/shoal/p2p/admission"
	"github.com/shoal-project/shoal/p2p/discovery"
)

// maxHosts is how many loopback addresses addressOf has.
const maxHosts = 1 << 16

// addressOf is where host number i of the cluster listens.
func addressOf(i int) netip.Addr { return netip.AddrFrom4([4]byte{127, 77, byte(i >> 8), byte(i)}) }

// A service stands for that many hosts, started or not, as the DNS name of a DaemonSet does.
type service int

// LookupNetIP implements discovery.Resolver.
func (s service) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	all := make([]netip.Addr, s)
	for i := range all {
		all[i] = addressOf(i)
	}
	return all, nil
}

// A host is one node as far as finding others goes.
type host struct {
	p2p       *p2p.Host
	discovery *discovery.Discovery
}

// startHost starts host number i of all, with the daemon's configuration.
func startHost(secret admission.Secret, i, all, port int) (host, error) {
	h, err := p2p.New(p2p.Config{
		Listen:  []string{fmt.Sprintf("/ip4/%s/tcp/%d", addressOf(i), port)},
		Secrets: []admission.Secret{secret},
	})
	if err != nil {
		return host{}, err
	}
	d, err := discovery.New(discovery.Config{
		Host: h, Bootstrap: []string{"shoal.example:" + strconv.Itoa(port)}, Resolver: service(all),
	})
	if err != nil {
		return host{}, errors.Join(err, h.Close())
	}
	return host{h, d}, nil
}
