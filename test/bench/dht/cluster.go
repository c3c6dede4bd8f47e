package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/rpc"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"github.com/shoal-project/shoal/p2p/admission"
	"github.com/shoal-project/shoal/pkg/blob"
)

const (
	// A cluster has come to rest when in each of calmSeconds seconds a host was sent no more
	// than so many messages: one of five hundred takes two a second for good, because all look
	// their neighbours up now and then. It may take settleWithin.
	restless     = 3
	calmSeconds  = 3
	settleWithin = 30 * time.Minute
	// leastNeighbours is how many a host needs for its questions to get anywhere.
	leastNeighbours = 20
	// spareFiles of a process are not connections.
	spareFiles = 256
)

// A cluster is hosts in one process or several, which this process commands.
type cluster struct {
	size    int
	each    int // hosts of a worker; the last may have fewer
	workers []*worker
	number  map[string]int // peer ID -> number of the host
}

// A worker is one process with some of the hosts.
type worker struct {
	*rpc.Client
	cmd *exec.Cmd
}

// startCluster starts n hosts. Should all of them be connected with each other, every
// process can still open a file for each connection of each of its hosts.
func startCluster(ctx context.Context, n, port int) (_ *cluster, err error) {
	c := &cluster{size: n, each: min(n, max(1, (openFiles()-spareFiles)/n)), number: map[string]int{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.stop())
		}
	}()
	args := StartArgs{Secret: admission.GenerateSecret().Encode(), All: n, Port: port}
	for ; args.First < n; args.First += args.Count {
		args.Count = min(c.each, n-args.First)
		w, err := startWorker(ctx)
		if err != nil {
			return nil, err
		}
		c.workers = append(c.workers, w)
		var ids []string
		if err := w.Call("Worker.Start", args, &ids); err != nil {
			return nil, fmt.Errorf("start hosts: %w", err)
		}
		for i, id := range ids {
			c.number[id] = args.First + i
		}
	}
	return c, nil
}

func startWorker(ctx context.Context) (*worker, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	cmd := exec.CommandContext(ctx, self, "--worker") //nolint:gosec // this very program
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start a worker: %w", err)
	}
	return &worker{rpc.NewClient(pipes{out, in}), cmd}, nil
}

// pipes are both directions to a worker.
type pipes struct {
	io.ReadCloser
	in io.WriteCloser
}

func (p pipes) Write(b []byte) (int, error) { return p.in.Write(b) }
func (p pipes) Close() error                { return errors.Join(p.in.Close(), p.ReadCloser.Close()) }

// stop ends the workers, and the hosts with them.
func (c *cluster) stop() error {
	errs := make([]error, 0, 2*len(c.workers))
	for _, w := range c.workers {
		errs = append(errs, w.Close(), w.cmd.Wait())
	}
	return errors.Join(errs...)
}

// on calls a method of the worker that has the host.
func on[R any](c *cluster, method string, host int, key blob.Digest) (r R, err error) {
	err = c.workers[host/c.each].Call("Worker."+method, HostKey{host % c.each, key}, &r)
	return r, err
}

// all calls a method of every worker at the same time.
func all[R any](c *cluster, method string, args any) ([]R, error) {
	out := make([]R, len(c.workers))
	errs := make([]error, len(c.workers))
	var wg sync.WaitGroup
	for i, w := range c.workers {
		wg.Go(func() { errs[i] = w.Call("Worker."+method, args, &out[i]) })
	}
	wg.Wait()
	return out, errors.Join(errs...)
}

// state is the sum over all workers.
func (c *cluster) state(collect bool) (State, error) {
	states, err := all[State](c, "State", collect)
	sum := states[0]
	for _, s := range states[1:] {
		sum = sum.plus(s)
	}
	return sum, err
}

// settle waits until every host has neighbours and none has much to do.
func (c *cluster) settle(ctx context.Context) error {
	deadline := time.Now().Add(settleWithin)
	before, err := c.state(false)
	for calm := 0; calm < calmSeconds && err == nil; {
		if !pause(ctx, time.Second) {
			return context.Cause(ctx)
		}
		if time.Now().After(deadline) {
			return errors.New("the hosts do not come to rest")
		}
		var now State
		if now, err = c.state(false); now.Messages-before.Messages <= uint64(c.size*restless) &&
			now.LeastNeighbours >= min(c.size-1, leastNeighbours) {
			calm++
		} else {
			calm = 0
		}
		before = now
	}
	return err
}

// idle is what a host costs that has nothing to do.
func (c *cluster) idle() (idle, error) {
	s, err := c.state(true)
	n := float64(c.size)
	return idle{
		RSSMiB: s.RSS / n, HeapMiB: s.Heap / n, Goroutines: float64(s.Goroutines) / n,
		Members: float64(s.Members) / n, Neighbours: float64(s.Neighbours) / n,
	}, err
}
