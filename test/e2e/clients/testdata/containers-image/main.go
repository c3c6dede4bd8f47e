// containers-image pulls an image into a folder by the calls that CRI-O 1.34 makes, of the library
// that it shares with podman and skopeo, in its version of that.
//
//	containers-image REGISTRIES.CONF IMAGE FOLDER
package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/containers/image/v5/copy"
	"github.com/containers/image/v5/directory"
	"github.com/containers/image/v5/docker"
	"github.com/containers/image/v5/signature"
	"github.com/containers/image/v5/types"
)

func main() {
	if err := pull(context.Background(), os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func pull(ctx context.Context, registries, image, folder string) error {
	source, err := docker.ParseReference("//" + image)
	if err != nil {
		return err
	}
	destination, err := directory.NewReference(folder)
	if err != nil {
		return err
	}
	anything := &signature.Policy{Default: signature.PolicyRequirements{signature.NewPRInsecureAcceptAnything()}}
	policy, err := signature.NewPolicyContext(anything)
	if err != nil {
		return err
	}
	system := &types.SystemContext{SystemRegistriesConfPath: registries, DockerRegistryUserAgent: "cri-o/1.34.0"}
	if err := askWhetherArtifact(ctx, system, source); err != nil {
		return err
	}
	_, err = copy.Image(ctx, policy, destination, source, &copy.Options{SourceCtx: system, DestinationCtx: &types.SystemContext{}})
	return err
}

// askWhetherArtifact reads the manifest on a connection of its own, as CRI-O does before it copies
// an image.
func askWhetherArtifact(ctx context.Context, system *types.SystemContext, image types.ImageReference) error {
	source, err := image.NewImageSource(ctx, system)
	if err != nil {
		return err
	}
	_, _, err = source.GetManifest(ctx, nil)
	return errors.Join(err, source.Close())
}
