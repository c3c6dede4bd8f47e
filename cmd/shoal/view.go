package main

import (
	"bytes"
	"context"
	"encoding/json"
	"time"

	"github.com/spf13/cobra"

	"github.com/shoal-project/shoal/pkg/admin"
)

const (
	intervalDefault = time.Second
	// shortest is the shortest interval: more often than that nobody can read it.
	shortest = 100 * time.Millisecond
)

// A view shows one document of the admin API: once, or again and again.
type view[T any] struct {
	fetch func(*admin.Client, context.Context) (T, error)
	draw  func(*page, T)
	// made is when the document was made.
	made func(T) time.Time

	socket   string
	output   outputFlag
	watch    bool
	interval time.Duration
	full     bool
}

// viewCommand completes a command that shows a view.
func viewCommand[T any](a *app, command *cobra.Command, v *view[T]) *cobra.Command {
	flags := command.Flags()
	flags.SortFlags = false
	v.output.value = outputText
	flags.VarP(&v.output, "output", "o", "text for people, or json: the document of the admin API (docs/admin-api.md)")
	flags.BoolVarP(&v.watch, "watch", "w", false, "show it again and again until Ctrl-C; json: one document a line")
	flags.DurationVar(&v.interval, "interval", intervalDefault, "`TIME` from one to the next with --watch")
	flags.BoolVar(&v.full, "no-trunc", false, "show digests and peer IDs whole")
	flags.StringVar(&v.socket, socketFlag, a.socketDefault(), "unix socket at `PATH` of the daemon to ask")
	command.Args = cobra.NoArgs
	command.RunE = func(command *cobra.Command, _ []string) error {
		client := admin.NewClient(v.socket)
		defer client.Close()
		t := newTerminal(a.stdout, a.environment)
		if v.watch {
			return a.watch(command.Context(), t, v.source(client, t), max(v.interval, shortest))
		}
		document, err := v.fetch(client, command.Context())
		if err != nil {
			return err
		}
		if v.output.value == outputJSON {
			encoder := json.NewEncoder(a.stdout)
			encoder.SetIndent("", "  ")
			return encoder.Encode(document)
		}
		return t.print(v.lines(document, t))
	}
	return command
}

func (v *view[T]) lines(document T, t *terminal) []line {
	p := &page{look: t.look(v.full, v.watch)}
	v.draw(p, document)
	return p.lines
}

// source is what watch shows: each call asks the daemon anew.
func (v *view[T]) source(client *admin.Client, t *terminal) source {
	if v.output.value == outputJSON {
		return func(ctx context.Context) (frame, error) {
			document, err := v.fetch(client, ctx)
			if err != nil {
				return frame{}, err
			}
			text, err := json.Marshal(document)
			return frame{raw: append(bytes.TrimSpace(text), '\n')}, err
		}
	}
	return func(ctx context.Context) (frame, error) {
		document, err := v.fetch(client, ctx)
		if err != nil {
			return frame{}, err
		}
		return frame{
			draw: func() []line { return v.lines(document, t) },
			made: v.made(document),
		}, nil
	}
}
