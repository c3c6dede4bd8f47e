package containerd

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// Default stands for every registry that has no folder of its own.
const Default = "_default"

// registryMax is the longest name of a registry: a DNS name and a port.
const registryMax = 253 + 6

// CheckRegistry accepts a registry as image names write it, or Default. Whatever it
// accepts is the name of a folder and nothing more.
func CheckRegistry(name string) error {
	if name == Default {
		return nil
	}
	host, port := name, ""
	if h, p, err := net.SplitHostPort(name); err == nil {
		host, port = h, p
	}
	if n, err := strconv.ParseUint(port, 10, 16); port != "" && (err != nil || n == 0) {
		return notRegistry(name)
	}
	_, notIP := netip.ParseAddr(strings.Trim(host, "[]"))
	if len(name) > registryMax || notIP != nil && !isHostName(host) {
		return notRegistry(name)
	}
	switch name {
	case "registry-1.docker.io", "index.docker.io", "registry.hub.docker.com":
		return fmt.Errorf("%s is where Docker Hub is; images and containerd call the registry docker.io", name)
	}
	return nil
}

func notRegistry(name string) error {
	return fmt.Errorf("%.100q is not a registry as image names write it, like docker.io or registry.example:5000; %s stands for all others", name, Default)
}

func isHostName(host string) bool {
	for label := range strings.SplitSeq(host, ".") {
		if label == "" || label[0] == '-' || label[0] == '_' || strings.ContainsFunc(label, func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_'
		}) {
			return false
		}
	}
	return true
}

// ownFolders are the folders that containerd takes for a registry, before Default.
func ownFolders(registry string) []string {
	if i := strings.LastIndexByte(registry, ':'); i > 0 && registry != Default {
		return []string{registry[:i] + "_" + registry[i+1:] + "_", registry}
	}
	return []string{registry}
}

// registryOf is the registry that a folder is for.
func registryOf(folder string) string {
	if rest, ok := strings.CutSuffix(folder, "_"); ok {
		if i := strings.LastIndexByte(rest, '_'); i > 0 {
			if _, err := strconv.ParseUint(rest[i+1:], 10, 16); err == nil {
				return rest[:i] + ":" + rest[i+1:]
			}
		}
	}
	return folder
}
