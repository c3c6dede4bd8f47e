package e2e

import (
	"context"
	"fmt"
	"net"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// dialIn connects from inside a network namespace, which is how the lab reaches what
// listens on a node's loopback.
func dialIn(ctx context.Context, netns, address string) (net.Conn, error) {
	return inNamespace(netns, func() (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp4", address)
	})
}

// listenIn listens inside a network namespace. What it accepts is there as well.
func listenIn(ctx context.Context, netns, address string) (net.Listener, error) {
	return inNamespace(netns, func() (net.Listener, error) {
		return new(net.ListenConfig).Listen(ctx, "tcp4", address)
	})
}

// inNamespace calls do on a thread that is in another network namespace: a socket made
// there stays there.
func inNamespace[V any](netns string, do func() (V, error)) (V, error) {
	var (
		value V
		err   error
		done  = make(chan struct{})
	)
	go func() {
		defer close(done)
		// Never unlocked: the thread is in another namespace now and ends with this goroutine.
		runtime.LockOSThread()
		if err = enterNamespace(netns); err == nil {
			value, err = do()
		}
	}()
	<-done
	return value, err
}

// enterNamespace moves the calling thread, and nothing else, into a network namespace.
func enterNamespace(netns string) error {
	ns, err := os.Open("/run/netns/" + netns) //nolint:gosec // a name that the lab chose
	if err != nil {
		return err
	}
	defer func() { _ = ns.Close() }()
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("entering %s: %w", netns, err)
	}
	return nil
}
