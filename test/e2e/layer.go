package e2e

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"path"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

const (
	helloPath = "bin/hello"
	fileSize  = 3 * MiB
)

// A layerWriter collects one layer's tar and keeps account of the files that the
// image has with this layer on top.
type layerWriter struct {
	buffer bytes.Buffer
	tar    *tar.Writer
	files  map[string]File
	err    error // first failure; the rest does nothing
}

func newLayer(files map[string]File) *layerWriter {
	l := &layerWriter{files: files}
	l.tar = tar.NewWriter(&l.buffer)
	return l
}

func (l *layerWriter) write(h *tar.Header, body []byte) {
	if l.err != nil {
		return
	}
	h.ModTime = time.Unix(1_700_000_000, 0)
	h.Size = int64(len(body))
	if l.err = l.tar.WriteHeader(h); l.err == nil {
		_, l.err = l.tar.Write(body)
	}
}

func (l *layerWriter) dir(name string) {
	l.write(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o755}, nil)
	l.files[name] = File{Mode: fs.ModeDir | 0o755}
}

func (l *layerWriter) file(name string, mode fs.FileMode, body []byte) {
	l.write(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: int64(mode)}, body)
	l.files[name] = File{Mode: mode, Size: int64(len(body)), Hash: sha256.Sum256(body)}
}

// data writes files below data/<n> that compress to size bytes.
func (l *layerWriter) data(n int, seed string, size int64) {
	for part, rest := 0, size; rest > 0; part++ {
		file := min(rest, fileSize)
		at := fmt.Sprintf("data/%d/%d", n, part)
		l.file(at, 0o640, content(seed+at, file))
		rest -= file
	}
}

func (l *layerWriter) link(name, target string) {
	l.write(&tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777}, nil)
	l.files[name] = File{Mode: fs.ModeSymlink, Link: target}
}

// remove writes a whiteout, as the OCI image specification (layer.md) calls it.
func (l *layerWriter) remove(name string) {
	l.write(&tar.Header{Typeflag: tar.TypeReg, Name: path.Join(path.Dir(name), ".wh."+path.Base(name))}, nil)
	delete(l.files, name)
}

func (l *layerWriter) close(t T) v1.Layer {
	t.Helper()
	if l.err == nil {
		l.err = l.tar.Close()
	}
	if l.err != nil {
		t.Fatalf("writing a layer: %v", l.err)
	}
	opener := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(l.buffer.Bytes())), nil }
	layer, err := tarball.LayerFromOpener(opener, tarball.WithMediaType(types.OCILayer),
		tarball.WithCompressionLevel(1), tarball.WithCompressedCaching)
	if err != nil {
		t.Fatalf("compressing a layer: %v", err)
	}
	return layer
}

// content gives size bytes that gzip cannot shrink, and behind them an eighth as much
// that it can. The same seed gives the same bytes on every machine.
func content(seed string, size int64) []byte {
	random := rand.NewChaCha8(sha256.Sum256([]byte(seed)))
	out := make([]byte, size, size+size/8)
	_, _ = random.Read(out)
	for len(out) < cap(out) {
		out = append(out, seed[:min(len(seed), cap(out)-len(out))]...)
	}
	return out
}
