package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// sizeMax is the most that a node may have to fetch for one platform: compressed bytes.
const sizeMax = 40 << 20

// A release is what goes into the image besides the source.
type release struct {
	version string
	commit  string
	// epoch is the time of everything in the image (reproducible-builds.org, SOURCE_DATE_EPOCH).
	epoch time.Time
}

// A platform is one that the image is made for.
type platform struct{ os, arch, level string }

func platforms() []platform {
	return []platform{{"linux", "amd64", "GOAMD64=v1"}, {"linux", "arm64", "GOARM64=v8.0"}}
}

const buildUsage = `Builds the daemon from the source and writes its image.

  image build --out dist --version v1.2.3 --commit "$(git rev-parse HEAD)" --epoch "$(git log -1 --format=%ct)"

Standard output gets the digest of the image, the same each time.
`

func runBuild(ctx context.Context, args []string) error {
	flags := newFlags("build", buildUsage)
	source := flags.String("source", ".", "the `folder` with Shoal's source")
	out := flags.String("out", "dist", "the `folder` for oci and shoal-oci.tar, which are replaced")
	version := flags.String("version", "", "the `version` that the daemon shows")
	commit := flags.String("commit", "", "the `commit` that the daemon shows")
	epoch := flags.Int64("epoch", 0, "the `seconds` since 1970 that count as the time of everything (SOURCE_DATE_EPOCH)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 || *version == "" || *commit == "" || *epoch <= 0 {
		return errors.New("--version, --commit and --epoch must be given, and nothing else; see --help")
	}
	r := release{version: *version, commit: *commit, epoch: time.Unix(*epoch, 0).UTC()}
	made, err := r.make(ctx, *source, platforms())
	if err != nil {
		return err
	}
	if err := made.write(*out); err != nil {
		return err
	}
	return made.report()
}

// make builds the daemon for each platform and puts the image together.
func (r release) make(ctx context.Context, source string, all []platform) (*image, error) {
	dir, err := os.MkdirTemp("", "shoal-image-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	made := newImage(r)
	for _, p := range all {
		binary := filepath.Join(dir, p.arch)
		if err := r.compile(ctx, source, binary, p); err != nil {
			return nil, err
		}
		if err := made.add(p, binary); err != nil {
			return nil, err
		}
	}
	return made, nil
}

// compile builds the daemon as "make build" does. Nothing of the environment that changes
// what the compiler writes is passed on.
func (r release) compile(ctx context.Context, source, out string, p platform) error {
	command := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", //nolint:gosec // flags of whoever runs this
		"-ldflags", "-s -w -X main.version="+r.version+" -X main.commit="+r.commit, "-o", out, "./cmd/shoal")
	command.Dir = source
	command.Env = append(neutral(os.Environ()), "CGO_ENABLED=0", "GOOS="+p.os, "GOARCH="+p.arch, p.level)
	if said, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("build the daemon for %s/%s: %w: %s", p.os, p.arch, err, strings.TrimSpace(string(said)))
	}
	return nil
}

// neutral leaves out the variables that change what is built.
func neutral(environment []string) []string {
	var kept []string
	for _, pair := range environment {
		name, _, _ := strings.Cut(pair, "=")
		switch name {
		case "GOFLAGS", "GOEXPERIMENT", "GOAMD64", "GOARM64", "GOFIPS140", "GODEBUG", "GOWORK", "GOOS", "GOARCH", "CGO_ENABLED":
		default:
			kept = append(kept, pair)
		}
	}
	return append(kept, "GOWORK=off")
}
