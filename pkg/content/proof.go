package content

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/chain"
)

// A proof says that one file held the bytes of a blob when it was hashed. On disk it is
//
//	magic 8 | digest 32 | inode, size, modified, changed 8 each | inner states 32 each | CRC-32C 4
//
// in a file named by the digest. It is a cache: without it the blob is hashed again.
type proof struct {
	file  identity
	chain chain.Chain
}

const (
	proofMagic = "shoalct\x01"
	proofFrame = len(proofMagic) + 32 + 4*8 + 4
	proofMax   = proofFrame + 32*int(blob.MaxSize/blob.MaxChunk)
)

var errProof = errors.New("malformed proof")

func encodeProof(d blob.Digest, p proof) []byte {
	inner := p.chain.Inner()
	out := make([]byte, 0, proofFrame+32*len(inner))
	out = append(out, proofMagic...)
	out = append(out, d[:]...)
	for _, v := range p.file.fields() {
		out = binary.BigEndian.AppendUint64(out, uint64(*v))
	}
	for _, s := range inner {
		out = append(out, s[:]...)
	}
	return binary.BigEndian.AppendUint32(out, checksum(out))
}

// decodeProof reads the proof of blob d. Errors wrap errProof.
func decodeProof(in []byte, d blob.Digest) (proof, error) {
	if len(in) < proofFrame || len(in) > proofMax || string(in[:len(proofMagic)]) != proofMagic {
		return proof{}, fmt.Errorf("%w: no header", errProof)
	}
	body := in[:len(in)-4]
	if binary.BigEndian.Uint32(in[len(body):]) != checksum(body) {
		return proof{}, fmt.Errorf("%w: damaged", errProof)
	}
	body = body[len(proofMagic):]
	if blob.Digest(body[:32]) != d {
		return proof{}, fmt.Errorf("%w: about another blob", errProof)
	}
	body = body[32:]
	var p proof
	for _, v := range p.file.fields() {
		*v, body = int64(binary.BigEndian.Uint64(body)), body[8:]
	}
	g, err := blob.NewGeometry(blob.ByteCount(p.file.size))
	if err != nil {
		return proof{}, fmt.Errorf("%w: %w", errProof, err)
	}
	if len(body) != 32*int(g.Last()) {
		return proof{}, fmt.Errorf("%w: %d bytes of states for %d chunks", errProof, len(body), g.Chunks())
	}
	inner := make([]chain.State, g.Last())
	for i := range inner {
		inner[i] = chain.State(body[32*i:])
	}
	if p.chain, err = chain.New(g, d, inner); err != nil {
		return proof{}, fmt.Errorf("%w: %w", errProof, err)
	}
	return p, nil
}

// fields are those of an identity in the order in which they are kept.
func (id *identity) fields() []*int64 {
	return []*int64{&id.inode, &id.size, &id.modified, &id.changed}
}

func checksum(p []byte) uint32 { return crc32.Checksum(p, crc32.MakeTable(crc32.Castagnoli)) }

// proofs is the folder of proofs. It is safe for concurrent use.
type proofs struct{ dir string }

func (p proofs) path(d blob.Digest) string { return filepath.Join(p.dir, d.Hex()) }

// load reads the proof of d. One that is missing is fs.ErrNotExist.
func (p proofs) load(d blob.Digest) (proof, error) {
	info, err := os.Stat(p.path(d))
	if err != nil {
		return proof{}, err
	}
	if info.Size() > int64(proofMax) {
		return proof{}, fmt.Errorf("%w: %d bytes", errProof, info.Size())
	}
	in, err := os.ReadFile(p.path(d))
	if err != nil {
		return proof{}, err
	}
	return decodeProof(in, d)
}

// save keeps the proof of d whole or not at all.
func (p proofs) save(d blob.Digest, of proof) error {
	f, err := os.CreateTemp(p.dir, tempPrefix+"*")
	if err != nil {
		return err
	}
	_, err = f.Write(encodeProof(d, of))
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), p.path(d))
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil // that the folder is not synced costs a proof at worst
}

const tempPrefix = ".new-"

// remove forgets the proof of d.
func (p proofs) remove(d blob.Digest) error {
	if err := os.Remove(p.path(d)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// retain removes the proofs of blobs that are not to be kept.
func (p proofs) retain(keep func(blob.Digest) bool) error {
	found, err := os.ReadDir(p.dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, f := range found {
		if d, err := blob.ParseDigest("sha256:" + f.Name()); err == nil && !keep(d) {
			errs = append(errs, p.remove(d))
		}
	}
	return errors.Join(errs...)
}

// open makes the folder, and removes what a crash left of a save.
func (p proofs) open() error {
	if err := os.MkdirAll(p.dir, 0o700); err != nil {
		return fmt.Errorf("folder of proofs cannot be made: %w", err)
	}
	found, err := os.ReadDir(p.dir)
	for _, f := range found {
		if strings.HasPrefix(f.Name(), tempPrefix) {
			err = errors.Join(err, os.Remove(filepath.Join(p.dir, f.Name())))
		}
	}
	return err
}
