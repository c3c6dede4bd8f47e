// Package config is the one schema of Shoal's settings: their names, their defaults,
// where they may come from, and what makes them valid.
//
// It reads neither flags, nor the environment, nor files: cmd/shoal hands it what it
// found there (Sources), and Load puts the parts together. It checks what can be
// checked without touching the machine: whether a port is free or a file is readable
// shows when the part that needs it starts.
package config

import (
	"log/slog"
	"time"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/containerd/configtoml"
)

// A StaleTags says who may help when upstream cannot be asked what a tag means.
type StaleTags string

// The values of StaleTags.
const (
	// StaleMembers serves what this node or, failing that, another member last knew the tag to mean.
	StaleMembers StaleTags = "members"
	// StaleLocal serves only what this node itself last knew the tag to mean.
	StaleLocal StaleTags = "local"
	// StaleOff never serves a tag that upstream has not just resolved.
	StaleOff StaleTags = "off"
)

// A StoreDedupe says what becomes of blobs that containerd keeps, too.
type StoreDedupe string

// The values of StoreDedupe.
const (
	// DedupeAuto removes from the store what containerd keeps, unless it drops layers once
	// they are unpacked.
	DedupeAuto StoreDedupe = "auto"
	// DedupeOff keeps both copies.
	DedupeOff StoreDedupe = "off"
)

// A LogFormat is how log records are written.
type LogFormat string

// The values of LogFormat.
const (
	LogText LogFormat = "text"
	LogJSON LogFormat = "json"
)

// A Config holds every setting of one daemon. Get one from Default or Load; the zero
// value is not valid, because some settings mean something when they are empty. A
// Config is a value: its slices and maps belong to it and are not changed after Load.
type Config struct {
	// Listen is where clients reach the proxy, HOST:PORT. Loopback unless ListenAnywhere.
	Listen string
	// ListenAnywhere permits a Listen that other machines can reach.
	ListenAnywhere bool
	// ListenNames are the DNS names that a Host header may carry, besides localhost. Others are
	// refused, against DNS rebinding.
	ListenNames []string
	// DataDir is the folder of the store and of what survives a restart.
	DataDir string
	// AdminSocket is the path of the unix socket that status, peers and layers ask.
	AdminSocket string
	// P2PListen are the multiaddrs where other members reach this node.
	P2PListen []string
	// P2PBootstrap are first contacts: HOST:PORT, DNSNAME:PORT or a multiaddr.
	P2PBootstrap []string
	// P2PSecretFiles hold the swarm's secret, at most two while it is rotated; the first
	// is the one this node proves itself with. None: the node runs alone.
	P2PSecretFiles []string
	// Zone is where the node is, for preferring peers nearby. Empty is unknown.
	Zone string
	// Upstreams maps a registry ("docker.io") to the URL to read it from, where that is
	// not https:// and the registry's own name.
	Upstreams map[string]string
	// CertsDir is the folder with the CAs and client certificates of registries, in the layout of
	// containerd's certs.d. Empty is none.
	CertsDir string
	// CertsClient permits that registries are shown the client certificates in CertsDir, and so that every
	// client of this node pulls with them.
	CertsClient bool
	// CredentialsFile is a docker config.json with this node's own logins, for prefetching. Empty is none.
	CredentialsFile string
	// CredentialsRegistries are the registries that are shown a login of CredentialsFile.
	CredentialsRegistries []string
	// MetricsListen is where metrics and health are served, HOST:PORT. Empty is nowhere.
	MetricsListen string
	// Pprof adds Go's profiling endpoints to MetricsListen.
	Pprof bool
	// LogLevel is the least severe level that is logged.
	LogLevel slog.Level
	// LogFormat is how records are written.
	LogFormat LogFormat
	// StoreMaxSize bounds the store on disk, in bytes. 0 is as much as leaves a tenth of
	// the disk free.
	StoreMaxSize blob.ByteCount
	// BackgroundMaxSize is the largest blob, in bytes, whose download is finished when no
	// client waits for it any more.
	BackgroundMaxSize blob.ByteCount
	// StoreDedupe says what becomes of blobs that containerd keeps, too.
	StoreDedupe StoreDedupe
	// ContainerdContent is the folder in which containerd keeps content. Empty: what is there
	// is not offered.
	ContainerdContent string
	// ContainerdSocket is where containerd says what it keeps, ContainerdNamespace of whose
	// images.
	ContainerdSocket, ContainerdNamespace string
	// ContainerdRate bounds the hashing of what containerd keeps, in bytes a second. 0 is as
	// fast as the disk gives it.
	ContainerdRate blob.ByteCount
	// ContainerdRoot is where the machine's file tree is, with containerd's configuration.
	ContainerdRoot string
	// ContainerdHostsDir is the folder of registries' folders on that machine, whatever the
	// configuration says, which then is not read. Empty takes what it says.
	ContainerdHostsDir string
	// ContainerdRelease is whose rules of reading that configuration count.
	ContainerdRelease configtoml.Release
	// StaleTags says who may help when upstream cannot be asked what a tag means.
	StaleTags StaleTags
	// AuthStale is how long after the registry last accepted a credential for a
	// repository stale tags are still served to it; 0 is never.
	AuthStale time.Duration
	// AuthGrant is how long the registry's acceptance of a credential for a repository
	// is believed before the registry is asked again.
	AuthGrant time.Duration
}

// Default returns the settings of a daemon that was told nothing. Each call returns
// a Config of its own.
func Default() Config {
	c := Config{}
	for _, s := range Settings() {
		if len(s.Default) == 0 {
			continue
		}
		if err := s.assign(&c, s.Default); err != nil {
			panic("config: default of " + s.Key + ": " + err.Error())
		}
	}
	return c
}
