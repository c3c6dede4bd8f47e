package config

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/containerd/configtoml"
)

// A Kind is the shape in which a setting is written.
type Kind int

// The kinds of settings.
const (
	// Text is one value.
	Text Kind = iota
	// Switch is true or false; its flag needs no value.
	Switch
	// List is any number of values: a repeated flag, a comma-separated variable, a YAML list.
	List
)

// A Setting describes one key of the schema.
type Setting struct {
	// Key is the name of the flag (without dashes) and of the key in the file.
	Key string
	// Kind is the shape in which it is written.
	Kind Kind
	// Placeholder stands for the value in help, as in --listen HOST:PORT.
	Placeholder string
	// Usage is one line for people.
	Usage string
	// Default is the value, as it would be written, of a setting that nobody made.
	Default []string

	assign func(*Config, []string) error
}

// Variable is the name of the setting's environment variable.
func (s Setting) Variable() string {
	return variablePrefix + strings.ToUpper(strings.ReplaceAll(s.Key, "-", "_"))
}

// Settings returns the whole schema in the order in which help shows it. The caller
// owns the slice.
func Settings() []Setting {
	settings := append(clientSettings(), swarmSettings()...)
	settings = append(settings, storeSettings()...)
	settings = append(settings, containerdSettings()...)
	return append(settings, observeSettings()...)
}

func clientSettings() []Setting {
	return []Setting{
		text("listen", "HOST:PORT", "127.0.0.1:6050", "where clients reach the proxy; loopback only, see --listen-anywhere",
			func(c *Config) *string { return &c.Listen }),
		toggle("listen-anywhere", "allow --listen on an address that other machines can reach",
			func(c *Config) *bool { return &c.ListenAnywhere }),
		list("listen-name", "NAME", nil, "DNS name by which clients call this node, besides localhost and addresses; repeatable",
			func(c *Config) *[]string { return &c.ListenNames }),
		{
			Key: "upstream", Kind: List, Placeholder: "REGISTRY=URL", assign: assignUpstreams,
			Usage: "read REGISTRY from URL instead of https://REGISTRY; repeatable",
		},
		text("certs-dir", "FOLDER", "/etc/containerd/certs.d", "where CAs of registries are, as containerd and Docker lay them out; empty: only the system's",
			func(c *Config) *string { return &c.CertsDir }),
		toggle("certs-client", "show registries the client certificates in --certs-dir; every client of this node then pulls with them",
			func(c *Config) *bool { return &c.CertsClient }),
		text("credentials-file", "FILE", "", "docker config.json with this node's own logins, for shoal prefetch and nothing that a client asks for",
			func(c *Config) *string { return &c.CredentialsFile }),
		list("credentials-registry", "REGISTRY", nil, "registry that is shown its login in --credentials-file; repeatable",
			func(c *Config) *[]string { return &c.CredentialsRegistries }),
		text("stale-tags", "members|local|off", string(StaleMembers), "who may say what a tag means while upstream cannot be reached",
			func(c *Config) *string { return (*string)(&c.StaleTags) }),
		duration("auth-stale", "12h", "how long after the registry last accepted a credential stale tags are served to it",
			func(c *Config) *time.Duration { return &c.AuthStale }),
		duration("auth-grant", "60s", "how long the registry's acceptance of a credential is believed before it is asked again",
			func(c *Config) *time.Duration { return &c.AuthGrant }),
	}
}

func swarmSettings() []Setting {
	return []Setting{
		list("p2p-listen", "MULTIADDR", []string{"/ip4/0.0.0.0/tcp/6051"}, "where other members reach this node; repeatable",
			func(c *Config) *[]string { return &c.P2PListen }),
		list("p2p-bootstrap", "HOST:PORT|MULTIADDR", nil, "first contact: a DNS name (a headless Service), a host or a multiaddr; repeatable",
			func(c *Config) *[]string { return &c.P2PBootstrap }),
		list("p2p-secret-file", "FILE", nil, "the swarm's secret (see shoal secret); give two while it is rotated; without one the node runs alone",
			func(c *Config) *[]string { return &c.P2PSecretFiles }),
		text("zone", "ZONE", "", "where this node is; peers of the same zone are preferred",
			func(c *Config) *string { return &c.Zone }),
	}
}

func storeSettings() []Setting {
	return []Setting{
		text("data-dir", "FOLDER", "/var/lib/shoal", "folder of the store; everything in it may be deleted while the daemon is stopped",
			func(c *Config) *string { return &c.DataDir }),
		size("store-max-size", "0", "most the store may hold, as in 200GiB; 0: as much as leaves a tenth of the disk free",
			func(c *Config) *blob.ByteCount { return &c.StoreMaxSize }),
		size("background-max-size", "16GiB", "largest blob whose download is finished after the last client left",
			func(c *Config) *blob.ByteCount { return &c.BackgroundMaxSize }),
		text("store-dedupe", "auto|off", string(DedupeAuto), "auto: what containerd keeps is not kept twice; off: it is",
			func(c *Config) *string { return (*string)(&c.StoreDedupe) }),
	}
}

func containerdSettings() []Setting {
	return []Setting{
		text("containerd-content", "FOLDER", "/var/lib/containerd/io.containerd.content.v1.content", "where containerd keeps layers, to offer them to members; empty: they are not offered",
			func(c *Config) *string { return &c.ContainerdContent }),
		text("containerd-socket", "PATH", "/run/containerd/containerd.sock", "where containerd says what it keeps",
			func(c *Config) *string { return &c.ContainerdSocket }),
		text("containerd-namespace", "NAME", "k8s.io", "offer what containerd keeps for this one of its namespaces",
			func(c *Config) *string { return &c.ContainerdNamespace }),
		size("containerd-rate", "64MiB", "most bytes a second that are read to prove what containerd keeps; 0: as many as the disk gives",
			func(c *Config) *blob.ByteCount { return &c.ContainerdRate }),
		text("containerd-root", "FOLDER", "/", "see containerd's configuration on the machine under this folder, in a container that has it mounted",
			func(c *Config) *string { return &c.ContainerdRoot }),
		text("containerd-hosts-dir", "FOLDER", "", "take this folder of registries' folders, whatever containerd's configuration says",
			func(c *Config) *string { return &c.ContainerdHostsDir }),
		{
			Key: "containerd-version", Placeholder: "VERSION", assign: assignRelease,
			Usage: "say so where containerd is older than 2.3, and reads its configuration differently",
		},
	}
}

func observeSettings() []Setting {
	return []Setting{
		text("admin-socket", "PATH", "/run/shoal/shoal.sock", "unix socket for shoal status, peers and layers",
			func(c *Config) *string { return &c.AdminSocket }),
		text("metrics-listen", "HOST:PORT", "127.0.0.1:6052", "where /metrics, /healthz and /readyz are served; empty turns them off",
			func(c *Config) *string { return &c.MetricsListen }),
		toggle("pprof", "serve Go's profiles under /debug/pprof/ of --metrics-listen",
			func(c *Config) *bool { return &c.Pprof }),
		{
			Key: "log-level", Placeholder: "debug|info|warn|error", Default: []string{"info"}, assign: assignLogLevel,
			Usage: "least severe level that is logged",
		},
		text("log-format", "text|json", string(LogText), "how log records are written, to standard error",
			func(c *Config) *string { return (*string)(&c.LogFormat) }),
	}
}

func text(key, placeholder, byDefault, usage string, field func(*Config) *string) Setting {
	return Setting{
		Key: key, Kind: Text, Placeholder: placeholder, Usage: usage, Default: []string{byDefault},
		assign: func(c *Config, values []string) error {
			*field(c) = values[0]
			return nil
		},
	}
}

func toggle(key, usage string, field func(*Config) *bool) Setting {
	return Setting{
		Key: key, Kind: Switch, Usage: usage, Default: []string{"false"},
		assign: func(c *Config, values []string) error {
			on, err := strconv.ParseBool(values[0])
			if err != nil {
				return fmt.Errorf("%q is neither true nor false", values[0])
			}
			*field(c) = on
			return nil
		},
	}
}

func list(key, placeholder string, byDefault []string, usage string, field func(*Config) *[]string) Setting {
	return Setting{
		Key: key, Kind: List, Placeholder: placeholder, Usage: usage, Default: byDefault,
		assign: func(c *Config, values []string) error {
			*field(c) = append([]string(nil), values...)
			return nil
		},
	}
}

func duration(key, byDefault, usage string, field func(*Config) *time.Duration) Setting {
	return Setting{
		Key: key, Kind: Text, Placeholder: "DURATION", Usage: usage, Default: []string{byDefault},
		assign: func(c *Config, values []string) error {
			d, err := time.ParseDuration(values[0])
			if err != nil {
				return fmt.Errorf("%q is not a duration like 90s, 15m or 12h", values[0])
			}
			*field(c) = d
			return nil
		},
	}
}

func size(key, byDefault, usage string, field func(*Config) *blob.ByteCount) Setting {
	return Setting{
		Key: key, Kind: Text, Placeholder: "SIZE", Usage: usage, Default: []string{byDefault},
		assign: func(c *Config, values []string) error {
			n, err := humanize.ParseBytes(values[0])
			if err != nil {
				return fmt.Errorf("%q is not a size like 500MB, 16GiB or a number of bytes", values[0])
			}
			if n > math.MaxInt64 {
				return fmt.Errorf("%q is more than any disk holds", values[0])
			}
			*field(c) = blob.ByteCount(n)
			return nil
		},
	}
}

// assignUpstreams splits REGISTRY=URL; whether the two are any good is Validate's to say.
func assignUpstreams(c *Config, values []string) error {
	upstreams := make(map[string]string, len(values))
	for _, v := range values {
		registry, url, ok := strings.Cut(v, "=")
		if !ok {
			return errors.New("must be of the form REGISTRY=URL, like docker.io=https://mirror.example")
		}
		if _, twice := upstreams[registry]; twice {
			return fmt.Errorf("the registry %q is given twice", registry)
		}
		upstreams[registry] = url
	}
	c.Upstreams = upstreams
	return nil
}

func assignRelease(c *Config, values []string) (err error) {
	c.ContainerdRelease, err = configtoml.ParseRelease(values[0])
	return err
}

func assignLogLevel(c *Config, values []string) error {
	switch values[0] {
	case "debug":
		c.LogLevel = slog.LevelDebug
	case "info":
		c.LogLevel = slog.LevelInfo
	case "warn":
		c.LogLevel = slog.LevelWarn
	case "error":
		c.LogLevel = slog.LevelError
	default:
		return errors.New("must be debug, info, warn or error")
	}
	return nil
}
