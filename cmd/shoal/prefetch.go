package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/shoal-project/shoal/pkg/admin"
)

// A prefetchRun is one invocation of shoal prefetch.
type prefetchRun struct {
	client *admin.Client
	output outputFlag
	term   *terminal
	app    *app
}

func (a *app) prefetchCommand() *cobra.Command {
	run := &prefetchRun{app: a, output: outputFlag{outputText}}
	var socket string
	command := &cobra.Command{
		Use:   "prefetch IMAGE...",
		Short: "Bring images onto this node before anybody asks for them",
		Long: `Has this node's daemon fetch images: the manifests and every blob of the node's
platform, from the nodes that have them and else from the registry. They are proven
and kept in the store, and other nodes find them here. containerd is not told: a pull
that comes later is quick.

A private image needs a login of the node's own. Give shoal serve a docker config.json,
which may name credential helpers, and say which registries may see it:
  credentials-file: /etc/shoal/docker.json
  credentials-registry: [registry.example]
That login is used here and nowhere else: whoever pulls the image is let in by the
registry for its own credential, or not at all.

Ctrl-C leaves; what is under way goes on in the daemon. Ask again to see how far it is.`,
		Example: `  shoal prefetch docker.io/library/nginx:1.27
  shoal prefetch nginx redis registry.example/team/app@sha256:...
  shoal prefetch -o json registry.example/team/app:v2 | jq .from_peers_bytes`,
		Args: func(_ *cobra.Command, images []string) error {
			if len(images) == 0 {
				return fmt.Errorf("name at least one image, as in: shoal prefetch docker.io/library/nginx:1.27")
			}
			return nil
		},
		RunE: func(command *cobra.Command, images []string) error {
			run.client, run.term = admin.NewClient(socket), newTerminal(a.stdout, a.environment)
			defer run.client.Close()
			return run.all(command.Context(), images)
		},
	}
	flags := command.Flags()
	flags.SortFlags = false
	flags.VarP(&run.output, "output", "o", "text for people, or json: one document of the admin API for each image, a line each (docs/admin-api.md)")
	flags.StringVar(&socket, socketFlag, a.socketDefault(), "unix socket at `PATH` of the daemon to ask")
	return command
}

// all prefetches one image after the other, and tells in the end if one is not here.
func (r *prefetchRun) all(ctx context.Context, images []string) error {
	ctx, stop := r.app.untilSignal(ctx)
	defer stop()
	failed := 0
	for _, image := range images {
		began := time.Now()
		last, err := r.client.Prefetch(ctx, image, r.progress)
		if err != nil {
			return err
		}
		if last.State == admin.PrefetchFailed {
			failed++
		}
		if err := r.ended(last, time.Since(began)); err != nil {
			return err
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d of %s not here", failed, plural(len(images), "image"))
	}
	return nil
}

// progress redraws one line of a screen.
func (r *prefetchRun) progress(p admin.Prefetch) {
	if r.output.value == outputJSON || !r.term.isScreen() {
		return
	}
	width, _ := r.term.size()
	page := page{look: r.term.look(false, true)}
	percent := 0.0
	if p.Size > 0 {
		percent = min(100, 100*float64(p.Have)/float64(p.Size))
	}
	text := fmt.Sprintf("%s  %s of %s, %d of %s", clean(p.Image, wordMax), bytesText(p.Have), bytesText(p.Size), p.Done, plural(p.Blobs, "blob"))
	_, _ = fmt.Fprint(r.term.w, "\r"+clip(page.bar(percent, barDefault)+" "+text, width)+clearLine) // it is only shown
}

// ended tells how an image came out.
func (r *prefetchRun) ended(p admin.Prefetch, took time.Duration) error {
	if r.output.value == outputJSON {
		return json.NewEncoder(r.app.stdout).Encode(p)
	}
	if r.term.isScreen() {
		_, _ = fmt.Fprint(r.term.w, "\r"+clearLine) // as above
	}
	if p.State == admin.PrefetchFailed {
		r.app.complain("shoal: " + clean(p.Image, wordMax) + ": " + clean(p.Error, sentenceMax))
		return nil
	}
	_, err := fmt.Fprintf(r.app.stdout, "%s  %s in %s: %s from the registry, %s from peers, in %s\n", clean(p.Image, wordMax),
		bytesText(p.Size), plural(p.Blobs, "blob"), bytesText(p.FromRegistry), bytesText(p.FromPeers), took.Round(100*time.Millisecond))
	return err
}
