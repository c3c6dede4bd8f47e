package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/shoal-project/shoal/pkg/blob"
)

const (
	// soon is how far ahead the arrivals of a crowd are set, so that all workers know of them.
	soon = 300 * time.Millisecond
	// pullFor is how long the last host of a crowd looks for others, and smallPullFor of a small one.
	pullFor, smallPullFor = 5 * time.Second, 2 * time.Second
	// costEvery is the time between two things whose cost is measured.
	costEvery = 20 * time.Millisecond
	// drain is how long what they set off may take.
	drain = 2 * time.Second
)

// A lab measures one cluster. It draws hosts and makes keys that nobody used before.
type lab struct {
	*cluster
	opts options
	rng  *rand.Rand
	keys int
}

func newLab(c *cluster, opts options) *lab {
	return &lab{cluster: c, opts: opts, rng: rand.New(rand.NewPCG(opts.seed, uint64(c.size)))}
}

func (l *lab) key() blob.Digest {
	l.keys++
	return sha256.Sum256(fmt.Appendf(nil, "%d hosts, seed %d, key %d", l.size, l.opts.seed, l.keys))
}

// announcedBefore measures one host that looks for what one other has announced, and how
// long it takes from the announcement until a third can find it.
func (l *lab) announcedBefore(ctx context.Context, r *report) error {
	var visible, first, whole []time.Duration
	for range l.opts.samples {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		who, key := l.rng.Perm(l.size), l.key()
		type awaited struct {
			at  int64
			err error
		}
		found := make(chan awaited, 1)
		go func() {
			at, err := on[int64](l.cluster, "Await", who[1], key)
			found <- awaited{at, err}
		}()
		announced, err := on[int64](l.cluster, "Provide", who[0], key)
		a := <-found
		if err := errors.Join(err, a.err); err != nil {
			return err
		}
		visible = append(visible, time.Duration(a.at-announced))
		look, err := on[Look](l.cluster, "Find", who[2], key)
		if err != nil {
			return err
		}
		if look.Found == 0 {
			r.Before.Missed++
		} else {
			first = append(first, look.First)
		}
		whole = append(whole, look.Whole)
		if _, err := on[struct{}](l.cluster, "Withdraw", who[0], key); err != nil {
			return err
		}
	}
	r.Before.VisibleMS, r.Before.FirstMS, r.Before.WholeMS = spreadOf(visible), spreadOf(first), spreadOf(whole)
	return nil
}

// costs measures what announcing a key costs, what looking for one that somebody announced,
// and what looking for one that nobody did.
func (l *lab) costs(ctx context.Context, r *report) (err error) {
	announced := make([]HostKey, 0, l.opts.samples)
	if r.Announce, err = l.cost(ctx, func() error {
		k := HostKey{l.rng.IntN(l.size), l.key()}
		announced = append(announced, k)
		_, err := on[int64](l.cluster, "Provide", k.Host, k.Key)
		return err
	}); err != nil {
		return err
	}
	next := 0
	if r.FindKnown, err = l.cost(ctx, func() error {
		next++
		_, err := on[Look](l.cluster, "Find", l.rng.IntN(l.size), announced[next-1].Key)
		return err
	}); err != nil {
		return err
	}
	if r.FindNothing, err = l.cost(ctx, func() error {
		_, err := on[Look](l.cluster, "Find", l.rng.IntN(l.size), l.key())
		return err
	}); err != nil {
		return err
	}
	for _, k := range announced {
		if _, err := on[struct{}](l.cluster, "Withdraw", k.Host, k.Key); err != nil {
			return err
		}
	}
	return nil
}

// rest measures for a while what the hosts use that have nothing to do.
func (l *lab) rest(ctx context.Context) (used, error) {
	started := time.Now()
	before, err := l.state(false)
	if err != nil {
		return used{}, err
	}
	if !pause(ctx, drain) {
		return used{}, context.Cause(ctx)
	}
	after, err := l.state(false)
	return useBetween(before, after, time.Since(started)), err
}

// used is CPU time and messages, and how long it took.
type used struct {
	cpu      time.Duration
	messages float64
	long     time.Duration
}

func useBetween(before, after State, long time.Duration) used {
	return used{after.CPU - before.CPU, float64(after.Messages - before.Messages), long}
}

// beyond is what was used more than at rest, for each of n.
func (u used) beyond(rest used, n int) cost {
	times := float64(u.long) / float64(rest.long)
	return cost{
		CPUMS:    (milliseconds(u.cpu) - times*milliseconds(rest.cpu)) / float64(n),
		Messages: (u.messages - times*rest.messages) / float64(n),
	}
}

// cost does something again and again and says what once costs.
func (l *lab) cost(ctx context.Context, do func() error) (cost, error) {
	rest, err := l.rest(ctx)
	if err != nil {
		return cost{}, err
	}
	started := time.Now()
	before, err := l.state(false)
	if err != nil {
		return cost{}, err
	}
	for range l.opts.samples {
		if err := do(); err != nil {
			return cost{}, err
		}
		if !pause(ctx, costEvery) {
			return cost{}, context.Cause(ctx)
		}
	}
	if !pause(ctx, drain) {
		return cost{}, context.Cause(ctx)
	}
	after, err := l.state(false)
	return useBetween(before, after, time.Since(started)).beyond(rest, l.opts.samples), err
}

func (l *lab) smallCrowds(ctx context.Context, r *report) error {
	for _, n := range []int{2, 20} {
		if n > l.size {
			continue
		}
		c, err := l.crowd(ctx, n, 0, 10*l.opts.rounds, smallPullFor)
		if err != nil {
			return err
		}
		r.Crowds = append(r.Crowds, c)
	}
	return nil
}

func (l *lab) spreadCrowd(ctx context.Context, r *report) error {
	c, err := l.crowd(ctx, l.size, l.opts.spacing, 1, pullFor)
	r.Crowds = append(r.Crowds, c)
	return err
}

func (l *lab) hotKey(ctx context.Context, r *report) error {
	c, err := l.crowd(ctx, l.size, 0, l.opts.rounds, pullFor)
	r.Crowds = append(r.Crowds, c)
	return err
}

// crowd has n hosts pull one image, spaced in time, each round another image. The last of them
// looks for others for so long.
func (l *lab) crowd(ctx context.Context, n int, spacing time.Duration, rounds int, long time.Duration) (c crowd, err error) {
	if _, err := all[struct{}](l.cluster, "Tidy", true); err != nil {
		return crowd{}, err
	}
	defer func() {
		_, e := all[struct{}](l.cluster, "Tidy", false)
		err = errors.Join(err, e)
	}()
	rest, err := l.rest(ctx)
	if err != nil {
		return crowd{}, err
	}
	t := newTally(n, spacing)
	for range rounds {
		if ctx.Err() != nil {
			return crowd{}, context.Cause(ctx)
		}
		if err := l.pullTogether(t, rest, l.rng.Perm(l.size)[:n], spacing, long); err != nil {
			return crowd{}, err
		}
	}
	return t.crowd(), nil
}

func (l *lab) pullTogether(t *tally, rest used, hosts []int, spacing, long time.Duration) error {
	args := CrowdArgs{Image: l.key(), Enough: min(enough, len(hosts)-1)}
	for range l.opts.layers {
		args.Layers = append(args.Layers, l.key())
	}
	start := time.Now().Add(soon)
	args.Until = start.Add(time.Duration(len(hosts))*spacing + long).UnixNano()
	arrived := make([]int64, len(hosts)) // in order
	of := make([][]Arrival, len(l.workers))
	who := make([][]int, len(l.workers)) // of each worker's arrivals, which of hosts it is
	for i, h := range hosts {
		arrived[i] = start.Add(time.Duration(i) * spacing).UnixNano()
		of[h/l.each] = append(of[h/l.each], Arrival{h % l.each, arrived[i]})
		who[h/l.each] = append(who[h/l.each], i)
	}
	began := time.Now()
	before, err := l.state(false)
	if err != nil {
		return err
	}
	seen := make([][]Sighting, len(hosts))
	errs := make([]error, len(l.workers)+1)
	var wg sync.WaitGroup
	for i, w := range l.workers {
		if len(of[i]) == 0 {
			continue
		}
		wg.Go(func() {
			var out [][]Sighting
			its := args
			its.Arrivals = of[i]
			errs[i] = w.Call("Worker.Crowd", its, &out)
			for j, s := range out {
				seen[who[i][j]] = s
			}
		})
	}
	wg.Wait()
	after, err := l.state(false)
	errs[len(l.workers)] = err
	if err := errors.Join(errs...); err != nil {
		return err
	}
	position := map[int]int{} // host -> place in the crowd
	for i, h := range hosts {
		position[h] = i
	}
	t.add(useBetween(before, after, time.Since(began)).beyond(rest, len(hosts)))
	for i, s := range seen {
		for _, sighting := range s {
			t.sight(i, position[l.number[sighting.Peer]], sighting.At)
		}
	}
	t.endRound(arrived)
	return nil
}

// milliseconds is a duration as reports have it.
func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// spreadOf is what a report says of many durations.
func spreadOf(d []time.Duration) spread {
	if len(d) == 0 {
		return spread{}
	}
	d = slices.Sorted(slices.Values(d))
	at := func(q float64) float64 { return milliseconds(d[min(len(d)-1, int(q*float64(len(d))))]) }
	return spread{P50: at(0.5), P99: at(0.99), Max: milliseconds(d[len(d)-1])}
}
