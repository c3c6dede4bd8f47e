package main

import (
	"archive/tar"
	"bytes"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/crypto/x509roots/fallback/bundle"
)

const (
	binaryPath       = "usr/local/bin/shoal"
	certificatesPath = "etc/ssl/certs/ca-certificates.crt"
)

// certificates are Mozilla's CAs as PEM. Those that it trusts under conditions only are left
// out, for the file cannot say which.
func certificates() []byte {
	var file bytes.Buffer
	for root := range bundle.Roots() {
		if root.Constraint == nil {
			_ = pem.Encode(&file, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}) // a Buffer does not fail
		}
	}
	return file.Bytes()
}

// layerOf is a layer that holds one file and the folders above it, root's, as old as epoch.
func layerOf(name string, mode int64, content []byte, epoch time.Time) (v1.Layer, error) {
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for end, c := range name {
		if c != '/' {
			continue
		}
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name[:end+1], Mode: 0o755, ModTime: epoch}); err != nil {
			return nil, err
		}
	}
	header := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: int64(len(content)), ModTime: epoch}
	if err := w.WriteHeader(header); err != nil {
		return nil, err
	}
	if _, err := w.Write(content); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	opener := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(archive.Bytes())), nil }
	return tarball.LayerFromOpener(opener, tarball.WithMediaType(types.OCILayer),
		tarball.WithCompressionLevel(9), tarball.WithCompressedCaching)
}

// layers are those of one platform's image: what changes least first.
func (r release) layers(binary string) ([]v1.Layer, error) {
	program, err := os.ReadFile(binary) //nolint:gosec // just built
	if err != nil {
		return nil, err
	}
	trust, err := layerOf(certificatesPath, 0o644, certificates(), r.epoch)
	if err != nil {
		return nil, err
	}
	daemon, err := layerOf(binaryPath, 0o755, program, r.epoch)
	if err != nil {
		return nil, err
	}
	return []v1.Layer{trust, daemon}, checkSize(trust, daemon)
}

func checkSize(layers ...v1.Layer) error {
	var sum int64
	var errs []error
	for _, l := range layers {
		size, err := l.Size()
		sum, errs = sum+size, append(errs, err)
	}
	if sum > sizeMax {
		errs = append(errs, fmt.Errorf("the layers have %d compressed bytes, more than the %d that a node should have to fetch", sum, sizeMax))
	}
	return errors.Join(errs...)
}
