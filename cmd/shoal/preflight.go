package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"syscall"

	"github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/shoal-project/shoal/pkg/config"
)

// preflight looks for what most often keeps a daemon from starting, so that the
// sentence about it names the setting and says what to do. What it finds in order may
// still fail a moment later, with the error of the part that needs it.
func preflight(ctx context.Context, c config.Config) error {
	var errs []error
	for _, path := range c.P2PSecretFiles {
		errs = append(errs, checkSecret(path))
	}
	errs = append(errs, checkDataDir(c.DataDir), checkPort(ctx, "listen", "tcp", c.Listen))
	if c.MetricsListen != "" {
		errs = append(errs, checkPort(ctx, "metrics-listen", "tcp", c.MetricsListen))
	}
	for _, address := range c.P2PListen {
		errs = append(errs, checkMultiaddrPort(ctx, address))
	}
	return errors.Join(errs...)
}

func checkSecret(path string) error {
	f, err := os.Open(path) //nolint:gosec // an operator's setting
	if err != nil {
		return fmt.Errorf("p2p-secret-file %s cannot be read (%w); make one with: shoal secret --out %s", path, reason(err), path)
	}
	info, err := f.Stat()
	if err == nil && info.IsDir() {
		err = errors.New("it is a folder")
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("p2p-secret-file %s cannot be read (%w)", path, reason(err))
	}
	return nil
}

// checkDataDir makes the folder if it is missing, and writes to it.
func checkDataDir(path string) error {
	err := os.MkdirAll(path, 0o700)
	if err == nil {
		err = tryWrite(path)
	}
	if err != nil {
		return fmt.Errorf("data-dir %s cannot be written (%w); run as a user who may, or choose another with --data-dir", path, reason(err))
	}
	return nil
}

// tryWrite creates an empty file and removes it. A full disk is no reason not to
// start: a pull is then streamed through.
func tryWrite(folder string) error {
	f, err := os.CreateTemp(folder, ".preflight-*")
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

func checkMultiaddrPort(ctx context.Context, address string) error {
	m, err := multiaddr.NewMultiaddr(address)
	if err != nil {
		return fmt.Errorf("p2p-listen %s: %w", address, err)
	}
	network, hostPort, err := manet.DialArgs(m)
	if err != nil {
		return fmt.Errorf("p2p-listen %s: %w", address, err)
	}
	return checkPort(ctx, "p2p-listen", network, hostPort)
}

// checkPort listens for a moment. libp2p shares its port with whoever else wants it
// (SO_REUSEPORT), so that a second daemon would otherwise start and steal connections.
func checkPort(ctx context.Context, key, network, address string) error {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, network, address)
	switch {
	case err == nil:
		return listener.Close()
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%s %s: the port is in use; stop what uses it (another shoal serve?), or choose another with --%s", key, address, key)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("%s %s: this machine has no such address; choose another with --%s", key, address, key)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%s %s: not allowed to listen there; choose a port above 1023 with --%s", key, address, key)
	default:
		return fmt.Errorf("%s %s: %w", key, address, err)
	}
}

// reason leaves out the operation and the path of a file's error, which the sentence
// around it names.
func reason(err error) error {
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		return path.Err
	}
	return err
}
