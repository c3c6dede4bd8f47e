package p2p

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/libp2p/go-libp2p/core/crypto"
)

const (
	identityFile = "identity.key"
	// identityMax is more than an Ed25519 key needs.
	identityMax = 256
)

var errIdentity = errors.New("not an Ed25519 key")

// loadIdentity returns the node's key, which it makes when there is none. The warning, if not
// nil, says why the identity is new or will not last: an identity is not precious (P5).
func loadIdentity(dir string) (key crypto.PrivKey, warning, err error) {
	if dir != "" {
		key, err = readIdentity(filepath.Join(dir, identityFile))
		switch {
		case err == nil:
			return key, nil, nil
		case !errors.Is(err, fs.ErrNotExist):
			warning = err
		}
	}
	key, _, err = crypto.GenerateEd25519Key(rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("make an identity: %w", err)
	}
	if dir != "" {
		if err := writeIdentity(dir, key); err != nil {
			warning = errors.Join(warning, err)
		}
	}
	return key, warning, nil
}

func readIdentity(file string) (crypto.PrivKey, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, fmt.Errorf("read the identity: %w", err)
	}
	if !info.Mode().IsRegular() || info.Size() > identityMax {
		return nil, fmt.Errorf("read the identity in %s: %w", file, errIdentity)
	}
	raw, err := os.ReadFile(file) //nolint:gosec // the operator names the folder
	if err != nil {
		return nil, fmt.Errorf("read the identity: %w", err)
	}
	key, err := parseIdentity(raw)
	if err != nil {
		return nil, fmt.Errorf("read the identity in %s: %w", file, err)
	}
	return key, nil
}

func parseIdentity(raw []byte) (crypto.PrivKey, error) {
	key, err := crypto.UnmarshalPrivateKey(raw)
	if err != nil || key.Type() != crypto.Ed25519 {
		return nil, errIdentity
	}
	return key, nil
}

func writeIdentity(dir string, key crypto.PrivKey) error {
	raw, err := crypto.MarshalPrivateKey(key)
	if err != nil {
		return fmt.Errorf("keep the identity: %w", err)
	}
	if err := WriteFile(filepath.Join(dir, identityFile), raw); err != nil {
		return fmt.Errorf("keep the identity: %w", err)
	}
	return nil
}

// WriteFile puts content under the name, readable by this user only, in one step: a crash
// leaves the old file or the new one. The folder is made when it is missing.
func WriteFile(file string, content []byte) error {
	dir := filepath.Dir(file)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	temp, err := os.CreateTemp(dir, filepath.Base(file)+".new-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = temp.Write(content)
	err = errors.Join(err, temp.Sync(), temp.Close())
	if err == nil {
		err = os.Rename(temp.Name(), file)
	}
	if err != nil {
		_ = os.Remove(temp.Name())
		return err
	}
	folder, err := os.Open(dir) //nolint:gosec // the folder of the file above
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}
