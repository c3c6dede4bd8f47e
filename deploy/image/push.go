package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

const pushUsage = `Pushes an OCI layout: the image, and what refers to it.

  image push --from dist/oci registry.example/shoal:v1.2.3

Credentials are those of "docker login" (~/.docker/config.json, DOCKER_CONFIG, credential
helpers). Standard output gets the name of the image by digest.
`

func runPush(ctx context.Context, args []string) error {
	flags := newFlags("push", pushUsage)
	from := flags.String("from", "dist/oci", "the `folder` of the layout")
	plain := flags.Bool("plain-http", false, "the registry speaks HTTP without TLS, as one in a laboratory does")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() != 1 {
		return errors.New("say where to: image push registry.example/shoal:v1.2.3")
	}
	options := []name.Option{name.StrictValidation}
	if *plain {
		options = append(options, name.Insecure)
	}
	ref, err := name.ParseReference(flags.Arg(0), options...)
	if err != nil {
		return err
	}
	digest, err := push(ctx, *from, ref)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(os.Stdout, digest)
	return err
}

// push sends a layout's image to ref, and then its referrers: their subject is there first.
func push(ctx context.Context, from string, ref name.Reference) (name.Digest, error) {
	index, err := layout.ImageIndexFromPath(from)
	if err != nil {
		return name.Digest{}, fmt.Errorf("read the layout: %w (make image writes it)", err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return name.Digest{}, err
	}
	remotely := []remote.Option{remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain)}
	var pushed name.Digest
	for _, d := range manifest.Manifests {
		switch {
		case d.MediaType.IsIndex():
			pushed, err = pushIndex(index, d, ref, remotely)
		case d.MediaType.IsImage():
			err = pushReferrer(index, d, ref, remotely)
		}
		if err != nil {
			return name.Digest{}, err
		}
	}
	if pushed.DigestStr() == "" {
		return name.Digest{}, fmt.Errorf("%s holds no image", from)
	}
	return pushed, nil
}

func pushIndex(layout v1.ImageIndex, d v1.Descriptor, ref name.Reference, options []remote.Option) (name.Digest, error) {
	image, err := layout.ImageIndex(d.Digest)
	if err != nil {
		return name.Digest{}, err
	}
	if err := remote.WriteIndex(ref, image, options...); err != nil {
		return name.Digest{}, fmt.Errorf("push the image: %w", err)
	}
	return ref.Context().Digest(d.Digest.String()), nil
}

func pushReferrer(layout v1.ImageIndex, d v1.Descriptor, ref name.Reference, options []remote.Option) error {
	image, err := layout.Image(d.Digest)
	if err != nil {
		return err
	}
	if err := remote.Write(ref.Context().Digest(d.Digest.String()), image, options...); err != nil {
		return fmt.Errorf("push what the image was built from: %w", err)
	}
	return nil
}
