package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// A frame is one thing that watch shows: raw bytes, or a page drawn to the screen's
// width of the moment.
type frame struct {
	raw  []byte
	draw func() []line
	made time.Time
}

// A source makes the next frame.
type source func(context.Context) (frame, error)

// watch shows one frame after the other until a signal asks it to stop, which is its
// ordinary end. A daemon that goes away later than the first frame may come back.
func (a *app) watch(ctx context.Context, t *terminal, next source, interval time.Duration) error {
	ctx, stop := a.untilSignal(ctx)
	defer stop()
	current, err := next(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil // it was interrupted before it had begun
		}
		return err
	}
	if t.isScreen() && current.raw == nil {
		return a.watchScreen(ctx, t, current, next, interval)
	}
	return a.watchBlocks(ctx, t, current, next, interval)
}

// watchScreen refreshes in place, and when the screen's size changes.
func (a *app) watchScreen(ctx context.Context, t *terminal, current frame, next source, interval time.Duration) (err error) {
	if _, err := fmt.Fprint(t.w, enterScreen); err != nil {
		return err
	}
	defer func() {
		if _, failed := fmt.Fprint(t.w, leaveScreen); err == nil {
			err = failed
		}
	}()
	resized := make(chan os.Signal, 1)
	signal.Notify(resized, syscall.SIGWINCH)
	defer signal.Stop(resized)
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	trouble := ""
	for {
		footer := fmt.Sprintf("%s, every %s, Ctrl-C to leave", current.made.Local().Format(time.TimeOnly), interval)
		if trouble != "" {
			footer = "as of " + current.made.Local().Format(time.TimeOnly) + ", trying again: " + trouble
		}
		if err := t.redraw(current.draw(), footer); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-resized:
			continue
		case <-ticker.C:
		}
		latest, err := next(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			trouble = clean(err.Error(), sentenceMax)
		default:
			current, trouble = latest, ""
		}
	}
}

// watchBlocks writes one block after the other, for a file or a pipe.
func (a *app) watchBlocks(ctx context.Context, t *terminal, current frame, next source, interval time.Duration) error {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		if err := t.printFrame(current); err != nil {
			return err
		}
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-ticker.C:
			}
			latest, err := next(ctx)
			if ctx.Err() != nil {
				return nil
			}
			if err == nil {
				current = latest
				break
			}
			a.complain("shoal: " + clean(err.Error(), sentenceMax))
		}
	}
}

// printFrame writes a frame as it is, or as a page under the time it was made.
func (t *terminal) printFrame(f frame) error {
	if f.raw != nil {
		_, err := t.w.Write(f.raw)
		return err
	}
	heading := line{text: "--- " + f.made.Format(time.RFC3339)}
	return t.print(append(append([]line{heading}, f.draw()...), line{}))
}
