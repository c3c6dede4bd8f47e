package content

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
	"golang.org/x/time/rate"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/chain"
)

// pieceSize is how much is read at a time, under the rate.
const pieceSize = 256 << 10

// A prover hashes blobs, one at a time. It belongs to one goroutine.
type prover struct {
	content *Content
	limit   *rate.Limiter
	buffer  []byte
}

// proveAll looks at what is to be looked at until ctx ends.
//
// Its reads are of the idle class of I/O priorities. Its processor time is only bounded by the
// rate: a thread of low priority would hold up the whole process at a garbage collection.
func (c *Content) proveAll(ctx context.Context) {
	runtime.LockOSThread() // and never unlocked: the thread ends with its priority
	idleReads()
	limit := rate.Inf
	if c.cfg.Rate > 0 {
		limit = rate.Limit(c.cfg.Rate)
	}
	p := &prover{content: c, limit: rate.NewLimiter(limit, pieceSize), buffer: make([]byte, pieceSize)}
	for {
		c.mu.Lock()
		e, ok := c.index.next()
		c.mu.Unlock()
		if ok && ctx.Err() == nil {
			p.look(ctx, e)
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-c.work:
		}
	}
}

// idleReads gives the calling thread the disk when nobody else wants it (ioprio_set(2)). Where
// that is not possible the rate alone has to do.
func idleReads() {
	const (
		ofProcess = 1
		idleClass = 3 << 13
	)
	_, _, _ = unix.Syscall(unix.SYS_IOPRIO_SET, ofProcess, 0, idleClass)
}

// look finds out whether the file of one entry is what its name says.
func (p *prover) look(ctx context.Context, e entry) {
	c := p.content
	f, now, err := c.openFile(e.digest)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		c.forget(e.digest)
		return
	case err != nil:
		p.settle(e, unfit, identity{}, err)
		return
	}
	defer func() { _ = f.Close() }()
	if e.state == listed {
		if kept, err := c.proofs.load(e.digest); err == nil && kept.file == now && now.size == int64(e.size) {
			p.settle(e, proven, now, nil)
			return
		}
		c.mu.Lock()
		c.index.wait(e.digest)
		c.mu.Unlock()
		return
	}
	made, err := p.prove(ctx, e, f, now)
	switch {
	case ctx.Err() != nil:
	case errors.Is(err, fs.ErrNotExist):
		c.forget(e.digest)
	case errors.Is(err, errWrong):
		p.settle(e, unfit, now, err)
	case err != nil:
		p.settle(e, unfit, identity{}, err)
	default:
		if err := c.proofs.save(e.digest, made); err != nil {
			p.settle(e, unfit, identity{}, err)
			return
		}
		p.settle(e, proven, now, nil)
	}
}

// errWrong means that a file is not the blob that it is named after.
var errWrong = errors.New("its bytes are something else")

// settle notes the outcome and tells of it.
func (p *prover) settle(e entry, to state, file identity, why error) {
	c := p.content
	c.mu.Lock()
	known := c.index.settle(e.digest, e.size, to, file)
	c.mu.Unlock()
	switch {
	case !known:
		c.dropProof(e.digest) // it went meanwhile
	case to == proven:
		c.cfg.OnProven(e.digest)
	default:
		c.cfg.Log.Warn("containerd's copy of a blob is not offered", "blob", e.digest.String(), "err", why)
	}
}

// prove hashes the whole file.
func (p *prover) prove(ctx context.Context, e entry, f *os.File, before identity) (proof, error) {
	if before.size != int64(e.size) {
		return proof{}, fmt.Errorf("%w: %d, and containerd says %d", errWrong, before.size, e.size)
	}
	g, err := blob.NewGeometry(e.size)
	if err != nil {
		return proof{}, err
	}
	inner := make([]chain.State, 0, g.Last())
	state := chain.IV()
	for i := range g.Chunks() {
		section := io.NewSectionReader(f, int64(g.Offset(i)), int64(g.Length(i)))
		if state, err = chain.Next(g, i, state, &slowReader{ctx: ctx, r: section, limit: p.limit}, p.buffer); err != nil {
			return proof{}, err
		}
		if i < g.Last() {
			inner = append(inner, state)
		}
	}
	if state != chain.State(e.digest) {
		return proof{}, fmt.Errorf("%w: they do not hash to its digest", errWrong)
	}
	switch after, links, err := identify(f); {
	case err != nil:
		return proof{}, err
	case links == 0:
		return proof{}, fs.ErrNotExist
	case before != after:
		return proof{}, errors.New("it was changed while it was hashed")
	}
	c, err := chain.New(g, e.digest, inner)
	return proof{file: before, chain: c}, err
}

// A slowReader reads under a rate, until ctx ends.
type slowReader struct {
	ctx   context.Context //nolint:containedctx // lives for one call of chain.Next, which takes a reader
	r     io.Reader
	limit *rate.Limiter
}

// Read implements io.Reader.
func (r *slowReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p[:min(len(p), pieceSize)])
	if n > 0 {
		if waitErr := r.limit.WaitN(r.ctx, n); waitErr != nil {
			return 0, waitErr
		}
	}
	return n, err
}
