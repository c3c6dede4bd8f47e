package admin_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/shoal-project/shoal/pkg/admin"
	"github.com/shoal-project/shoal/pkg/blob"
)

// A bringer carries out orders as its function says.
type bringer struct {
	source
	bring func(ctx context.Context, image string, report func(admin.Prefetch)) error
}

func (b *bringer) Prefetch(ctx context.Context, image string, report func(admin.Prefetch)) error {
	return b.bring(ctx, image, report)
}

func TestPrefetchTellsHowFarItIs(t *testing.T) {
	digest := blob.Digest{7}
	socket, _ := serve(t, &bringer{bring: func(_ context.Context, image string, report func(admin.Prefetch)) error {
		report(admin.Prefetch{Image: "whole/" + image, Size: 10, Have: 5})
		report(admin.Prefetch{Image: "whole/" + image, Size: 10, Have: 10, Blobs: 1, Done: 1, Digest: &digest})
		if image == "bad" {
			return errors.New("no such image")
		}
		return nil
	}})
	cl := client(t, socket)
	var told []admin.Prefetch
	last, err := cl.Prefetch(t.Context(), "good", func(p admin.Prefetch) { told = append(told, p) })
	if err != nil || last.State != admin.PrefetchDone || last.Image != "whole/good" || *last.Digest != digest || last.Error != "" || !last.Time.Equal(now) {
		t.Errorf("%+v, %v", last, err)
	}
	if len(told) != 2 || told[0].State != admin.PrefetchRunning || told[0].Have != 5 {
		t.Errorf("told %+v", told)
	}
	last, err = cl.Prefetch(t.Context(), "bad", func(admin.Prefetch) {})
	if err != nil || last.State != admin.PrefetchFailed || last.Error != "no such image" {
		t.Errorf("%+v, %v", last, err)
	}
}

// Orders are bounded in number and size, and a client that goes takes its order with it.
func TestPrefetchIsBounded(t *testing.T) {
	began, ended := make(chan struct{}, 16), make(chan error, 16)
	socket, _ := serve(t, &bringer{bring: func(ctx context.Context, _ string, _ func(admin.Prefetch)) error {
		began <- struct{}{}
		<-ctx.Done()
		ended <- context.Cause(ctx)
		return ctx.Err()
	}})
	cl := client(t, socket)
	ctx, leave := context.WithCancel(t.Context())
	left := make(chan error, 4)
	for range 4 {
		go func() {
			_, err := cl.Prefetch(ctx, "a", func(admin.Prefetch) {})
			left <- err
		}()
		<-began
	}
	refusal := (*admin.RefusedError)(nil)
	if _, err := cl.Prefetch(t.Context(), "a", nil); !errors.As(err, &refusal) || refusal.Code != http.StatusServiceUnavailable {
		t.Errorf("a fifth: %v", err)
	}
	leave()
	for range 4 {
		if err := <-left; !errors.Is(err, context.Canceled) {
			t.Errorf("err = %v", err)
		}
		if err := <-ended; err == nil {
			t.Error("the order did not end")
		}
	}
	for _, image := range []string{"", strings.Repeat("a", 5000)} {
		if _, err := cl.Prefetch(t.Context(), image, nil); !errors.As(err, &refusal) || refusal.Code != http.StatusBadRequest {
			t.Errorf("an image of %d bytes: %v", len(image), err)
		}
	}
}

// A daemon that ends takes its orders with it, and says so to the client.
func TestPrefetchEndsWithTheDaemon(t *testing.T) {
	began := make(chan struct{})
	socket, stop := serve(t, &bringer{bring: func(ctx context.Context, _ string, report func(admin.Prefetch)) error {
		report(admin.Prefetch{})
		close(began)
		<-ctx.Done()
		return errors.New("the daemon ends")
	}})
	go func() { <-began; stop() }()
	last, err := client(t, socket).Prefetch(t.Context(), "a", func(admin.Prefetch) {})
	if err == nil && last.State != admin.PrefetchFailed {
		t.Errorf("%+v, %v", last, err)
	}
	stop()
	if conn, err := (&net.Dialer{}).DialContext(t.Context(), "unix", socket); err == nil {
		_ = conn.Close()
		t.Error("the socket is still there")
	}
}
