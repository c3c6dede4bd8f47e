package config

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Bounds that are not a matter of taste.
const (
	// socketPathMax is what struct sockaddr_un has room for on Linux, without the NUL.
	socketPathMax = 107
	zoneMax       = 63
	secretsMax    = 2
	authGrantMax  = 10 * time.Minute
	authStaleMax  = 30 * 24 * time.Hour
)

// Validate reports everything that is wrong with c: errors.Join of one *Error, a clear
// sentence, for each.
func (c Config) Validate() error {
	problems := c.problems()
	errs := make([]error, len(problems))
	for i, p := range problems {
		errs[i] = p
	}
	return errors.Join(errs...)
}

// A check collects what is wrong with one Config.
type check struct{ found []*Error }

func (k *check) failf(key, format string, args ...any) {
	k.found = append(k.found, &Error{Key: key, Reason: fmt.Sprintf(format, args...)})
}

func (k *check) err(key string, err error) {
	if err != nil {
		k.failf(key, "%s", err.Error())
	}
}

// absolute notes a path that is not absolute, of a thing like a folder, and reports whether it is.
func (k *check) absolute(key, path, thing string) bool {
	good := strings.HasPrefix(path, "/") && !strings.ContainsRune(path, 0)
	if !good {
		k.failf(key, "%q is not the absolute path of a %s", path, thing)
	}
	return good
}

func (c Config) problems() []*Error {
	k := &check{}
	c.checkClients(k)
	c.checkSwarm(k)
	c.checkStore(k)
	c.checkContainerd(k)
	c.checkObserve(k)
	return k.found
}

func (c Config) checkClients(k *check) {
	switch err := checkHostPort(c.Listen); {
	case err != nil:
		k.err("listen", err)
	case !c.ListenAnywhere && !isLoopback(c.Listen):
		k.failf("listen", "%s is not a loopback address, and whoever reaches it can pull as this node's users; use 127.0.0.1, or set listen-anywhere to accept that", c.Listen)
	}
	for _, name := range c.ListenNames {
		if !isHostName(name) {
			k.failf("listen-name", "%q is not a DNS name, like mirror.example", name)
		}
	}
	if strings.ContainsRune(c.CertsDir, 0) {
		k.failf("certs-dir", "%q is not the path of a folder", c.CertsDir)
	}
	c.checkCredentials(k)
	for _, registry := range sortedKeys(c.Upstreams) {
		k.err("upstream", checkUpstream(registry, c.Upstreams[registry]))
	}
	switch c.StaleTags {
	case StaleMembers, StaleLocal, StaleOff:
	default:
		k.failf("stale-tags", "%q must be members, local or off", string(c.StaleTags))
	}
	if c.AuthStale < 0 || c.AuthStale > authStaleMax {
		k.failf("auth-stale", "%s must be from 0, which never serves them, to 720h", c.AuthStale)
	}
	if c.AuthGrant <= 0 || c.AuthGrant > authGrantMax {
		k.failf("auth-grant", "%s must be more than 0 and at most %s: the registry decides who may pull", c.AuthGrant, authGrantMax)
	}
}

func (c Config) checkCredentials(k *check) {
	if strings.ContainsRune(c.CredentialsFile, 0) {
		k.failf("credentials-file", "%q is not the path of a file", c.CredentialsFile)
	}
	if (c.CredentialsFile == "") != (len(c.CredentialsRegistries) == 0) {
		k.failf("credentials-registry", "credentials-file says where logins are and credentials-registry who is shown them: give both, or neither")
	}
	for _, registry := range c.CredentialsRegistries {
		k.err("credentials-registry", checkRegistry(registry))
	}
}

func (c Config) checkSwarm(k *check) {
	if len(c.P2PListen) == 0 {
		k.failf("p2p-listen", "at least one address is needed, like /ip4/0.0.0.0/tcp/6051")
	}
	for _, address := range c.P2PListen {
		k.err("p2p-listen", checkListenMultiaddr(address))
	}
	for _, address := range c.P2PBootstrap {
		k.err("p2p-bootstrap", checkBootstrap(address))
	}
	if len(c.P2PSecretFiles) > secretsMax {
		k.failf("p2p-secret-file", "%d secrets are given; at most two can be valid at once, the new one first", len(c.P2PSecretFiles))
	}
	for i, path := range c.P2PSecretFiles {
		switch {
		case path == "" || strings.ContainsRune(path, 0):
			k.failf("p2p-secret-file", "%q is not the path of a file", path)
		case i > 0 && path == c.P2PSecretFiles[0]:
			k.failf("p2p-secret-file", "%q is given twice", path)
		}
	}
	if len(c.Zone) > zoneMax || strings.ContainsFunc(c.Zone, notZoneRune) {
		k.failf("zone", "%q must be at most %d letters, digits, dots, dashes and underscores", c.Zone, zoneMax)
	}
}

func notZoneRune(r rune) bool {
	return !isAlphanumeric(r) && r != '.' && r != '-' && r != '_'
}

func isAlphanumeric(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
}

func (c Config) checkStore(k *check) {
	if c.DataDir == "" || strings.ContainsRune(c.DataDir, 0) {
		k.failf("data-dir", "%q is not the path of a folder", c.DataDir)
	}
	if c.StoreMaxSize < 0 {
		k.failf("store-max-size", "%d must not be negative", c.StoreMaxSize)
	}
	if c.BackgroundMaxSize <= 0 { // 0 would be another package's word for its default
		k.failf("background-max-size", "%d must be more than 0; 1 finishes nothing that no client waits for", c.BackgroundMaxSize)
	}
}

func (c Config) checkContainerd(k *check) {
	switch c.StoreDedupe {
	case DedupeAuto, DedupeOff:
	default:
		k.failf("store-dedupe", "%q must be auto or off", string(c.StoreDedupe))
	}
	k.absolute("containerd-root", c.ContainerdRoot, "folder")
	if c.ContainerdHostsDir != "" {
		k.absolute("containerd-hosts-dir", c.ContainerdHostsDir, "folder")
	}
	if c.ContainerdRate < 0 {
		k.failf("containerd-rate", "%d must not be negative", c.ContainerdRate)
	}
	if c.ContainerdContent == "" {
		return
	}
	k.absolute("containerd-content", c.ContainerdContent, "folder")
	if path := c.ContainerdSocket; k.absolute("containerd-socket", path, "socket") && len(path) > socketPathMax {
		k.failf("containerd-socket", "a path of %d bytes is longer than the %d that a unix socket can have", len(path), socketPathMax)
	}
	if !isNamespace(c.ContainerdNamespace) {
		k.failf("containerd-namespace", "%q is no namespace of containerd, like k8s.io", c.ContainerdNamespace)
	}
}

// namespaceMax is how long a namespace of containerd may be.
const namespaceMax = 76

// isNamespace follows the grammar of containerd's identifiers (pkg/identifiers).
func isNamespace(name string) bool {
	words := strings.FieldsFunc(name, func(r rune) bool { return r == '.' || r == '-' || r == '_' })
	length := max(0, len(words)-1) // of the separators, one between two words
	for _, w := range words {
		if strings.ContainsFunc(w, func(r rune) bool { return !isAlphanumeric(r) }) {
			return false
		}
		length += len(w)
	}
	return name != "" && length == len(name) && len(name) <= namespaceMax
}

func (c Config) checkObserve(k *check) {
	switch {
	case c.AdminSocket == "" || strings.ContainsRune(c.AdminSocket, 0):
		k.failf("admin-socket", "%q is not the path of a socket", c.AdminSocket)
	case len(c.AdminSocket) > socketPathMax:
		k.failf("admin-socket", "a path of %d bytes is longer than the %d that a unix socket can have", len(c.AdminSocket), socketPathMax)
	}
	if c.MetricsListen != "" {
		switch err := checkHostPort(c.MetricsListen); {
		case err != nil:
			k.err("metrics-listen", err)
		case c.MetricsListen == c.Listen && port(c.Listen) != "0":
			k.failf("metrics-listen", "%s is the address of the proxy too; give it another port", c.MetricsListen)
		}
	}
	switch c.LogFormat {
	case LogText, LogJSON:
	default:
		k.failf("log-format", "%q must be text or json", string(c.LogFormat))
	}
}

// Warnings returns a sentence for each setting that works but that an operator should
// know about, in a fixed order. What is to be said of upstreams, pkg/upstream says.
func (c Config) Warnings() []string {
	var warnings []string
	if c.ListenAnywhere && !isLoopback(c.Listen) {
		warnings = append(warnings, fmt.Sprintf("listen %s can be reached from other machines", c.Listen))
	}
	if c.CertsClient {
		warnings = append(warnings, "certs-client is on: whoever reaches the client port pulls with the client certificates of this node")
	}
	if c.Pprof && c.MetricsListen != "" && !isLoopback(c.MetricsListen) {
		warnings = append(warnings, fmt.Sprintf("pprof is served on %s, which other machines can reach", c.MetricsListen))
	}
	if c.Pprof && c.MetricsListen == "" {
		warnings = append(warnings, "pprof is on but metrics-listen is empty, so it is served nowhere")
	}
	if len(c.P2PSecretFiles) == 0 {
		warnings = append(warnings, "no p2p-secret-file is given: this node runs alone")
	}
	return warnings
}
