package upstream

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const (
	// maxPEM bounds one file of certificates or keys, in bytes: the CAs of a whole system fit.
	maxPEM = 1 << 20
	// maxPEMFiles bounds the files of one folder.
	maxPEMFiles = 32
)

// A certificates is what TLS to one registry needs besides the system's CAs, as PEM. The zero
// value is nothing.
type certificates struct {
	ca   [][]byte
	keys [][2][]byte // certificate and key
}

// folderOf returns the folder of a registry below dir, or "" if there is none: the first that
// exists of host_port_, host:port and _default, as containerd looks for it.
func folderOf(dir, registry string) (string, error) {
	candidates := []string{registry, "_default"}
	if at := strings.LastIndexByte(registry, ':'); at > 0 && !strings.HasSuffix(registry, "]") {
		candidates = append([]string{registry[:at] + "_" + registry[at+1:] + "_"}, candidates...)
	}
	for _, name := range candidates {
		folder := filepath.Join(dir, name)
		switch _, err := os.Stat(folder); {
		case err == nil:
			return folder, nil
		case !errors.Is(err, fs.ErrNotExist):
			return "", fmt.Errorf("%w: %w", ErrCertificates, err)
		}
	}
	return "", nil
}

// readCertificates reads what the folder holds for a registry that is reached at base: the files
// that hosts.toml names for it and, where it names none, those whose names end as Docker wants it,
// .crt for CAs, .cert and .key for clients. containerd looks at the latter only without a
// hosts.toml; a node with Shoal always has one. Keys are read only with client. Errors wrap
// ErrCertificates; one beside certificates is about what is not followed.
func readCertificates(folder string, base *url.URL, client bool) (certificates, error) {
	files, err := filesIn(folder, base)
	if err != nil {
		return certificates{}, err
	}
	var c certificates
	for _, name := range files.ca {
		pem, err := readPEM(folder, name)
		if err != nil {
			return certificates{}, err
		}
		c.ca = append(c.ca, pem)
	}
	var ignored error
	if files.skipVerify {
		ignored = fmt.Errorf("%w: skip_verify in %s is not followed: whoever is on the way could ask clients for their passwords; name the registry's CA in ca", ErrCertificates, folder)
	}
	if !client && len(files.client) > 0 {
		files.client = nil
		ignored = errors.Join(ignored, fmt.Errorf("%w: the client certificate in %s is not shown, because every client of this node would then pull with it; --certs-client allows that", ErrCertificates, folder))
	}
	for _, pair := range files.client {
		certificate, err := readPEM(folder, pair[0])
		if err != nil {
			return certificates{}, err
		}
		key := certificate
		if pair[1] != "" {
			if key, err = readPEM(folder, pair[1]); err != nil {
				return certificates{}, err
			}
		}
		c.keys = append(c.keys, [2][]byte{certificate, key})
	}
	return c, ignored
}

// filesIn finds out which files of the folder count.
func filesIn(folder string, base *url.URL) (tlsFiles, error) {
	var files tlsFiles
	content, err := readBounded(filepath.Join(folder, "hosts.toml"), maxHostsFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return files, err
	default:
		if files, err = parseHosts(content, base); err != nil {
			return files, fmt.Errorf("%w (in %s)", err, folder)
		}
	}
	if len(files.ca) == 0 && len(files.client) == 0 {
		if err := files.addByName(folder); err != nil {
			return files, err
		}
	}
	if n := len(files.ca) + len(files.client); n > maxPEMFiles {
		return files, fmt.Errorf("%w: %d files in %s, at most %d", ErrCertificates, n, folder, maxPEMFiles)
	}
	return files, nil
}

// addByName adds the files of a folder in Docker's layout.
func (f *tlsFiles) addByName(folder string) error {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrCertificates, err)
	}
	for _, entry := range entries {
		name := entry.Name()
		if strings.HasSuffix(name, ".crt") {
			f.ca = append(f.ca, name)
		}
		if stem, ok := strings.CutSuffix(name, ".cert"); ok {
			pair := [2]string{name, stem + ".key"}
			if !slices.ContainsFunc(entries, func(e os.DirEntry) bool { return e.Name() == pair[1] }) {
				pair[1] = "" // the key is in the same file, if anywhere
			}
			f.client = append(f.client, pair)
		}
	}
	return nil
}

func readPEM(folder, name string) ([]byte, error) {
	if !filepath.IsAbs(name) {
		name = filepath.Join(folder, name)
	}
	return readBounded(name, maxPEM)
}

// readBounded reads a regular file of at most limit bytes.
func readBounded(name string, limit int64) ([]byte, error) {
	info, err := os.Stat(name)
	if err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%w: %s is not a file", ErrCertificates, name)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCertificates, err)
	}
	file, err := os.Open(name) //nolint:gosec // the operator names the files
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCertificates, err)
	}
	defer file.Close() //nolint:errcheck // opened for reading
	content, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCertificates, err)
	}
	if int64(len(content)) > limit {
		return nil, fmt.Errorf("%w: %s has more than %d bytes", ErrCertificates, name, limit)
	}
	return content, nil
}

// pool returns roots, nil for the system's, with the CAs added.
func (c certificates) pool(roots *x509.CertPool) (*x509.CertPool, error) {
	if roots == nil {
		var err error
		if roots, err = x509.SystemCertPool(); err != nil {
			return nil, fmt.Errorf("%w: the system's CAs: %w", ErrCertificates, err)
		}
	}
	roots = roots.Clone()
	for _, pem := range c.ca {
		if !roots.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%w: a CA file holds no certificate in PEM form", ErrCertificates)
		}
	}
	return roots, nil
}

// pairs returns the client certificates, ready for TLS.
func (c certificates) pairs() ([]tls.Certificate, error) {
	pairs := make([]tls.Certificate, 0, len(c.keys))
	for _, pem := range c.keys {
		pair, err := tls.X509KeyPair(pem[0], pem[1])
		if err != nil {
			return nil, fmt.Errorf("%w: a client certificate and its key are not a pair in PEM form", ErrCertificates)
		}
		pairs = append(pairs, pair)
	}
	return pairs, nil
}
