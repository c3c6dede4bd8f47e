package criprobe_test

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/shoal-project/shoal/pkg/containerd"
	"github.com/shoal-project/shoal/pkg/containerd/criprobe"
)

// A runtime is the image service of a containerd.
type runtime struct {
	cri.UnimplementedImageServiceServer
	err             error
	pulled, removed []string
}

func (r *runtime) PullImage(_ context.Context, q *cri.PullImageRequest) (*cri.PullImageResponse, error) {
	r.pulled = append(r.pulled, q.GetImage().GetImage())
	return &cri.PullImageResponse{ImageRef: "sha256:1"}, r.err
}

func (r *runtime) RemoveImage(_ context.Context, q *cri.RemoveImageRequest) (*cri.RemoveImageResponse, error) {
	r.removed = append(r.removed, q.GetImage().GetImage())
	return &cri.RemoveImageResponse{}, nil
}

func serve(t *testing.T, r *runtime) (socket string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	cri.RegisterImageServiceServer(server, r)
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return socket
}

func TestPullLeavesNothing(t *testing.T) {
	r := &runtime{}
	if err := criprobe.Pull(t.Context(), serve(t, r), "docker.io/a:b"); err != nil {
		t.Fatal(err)
	}
	if strings.Join(r.pulled, " ") != "docker.io/a:b" || strings.Join(r.removed, " ") != "docker.io/a:b" {
		t.Errorf("pulled %v, removed %v", r.pulled, r.removed)
	}
}

func TestPullFails(t *testing.T) {
	for code, runtimeGone := range map[codes.Code]bool{
		codes.NotFound: false, codes.Unknown: false, codes.Unimplemented: true, codes.Unavailable: true, codes.PermissionDenied: true,
	} {
		r := &runtime{err: status.Error(code, "the reason")}
		err := criprobe.Pull(t.Context(), serve(t, r), "docker.io/a:b")
		if err == nil || errors.Is(err, containerd.ErrNoRuntime) != runtimeGone || !strings.Contains(err.Error(), "the reason") || len(r.removed) > 0 {
			t.Errorf("%s: %v, removed %v", code, err, r.removed)
		}
	}
	if err := criprobe.Pull(t.Context(), filepath.Join(t.TempDir(), "none"), "docker.io/a:b"); !errors.Is(err, containerd.ErrNoRuntime) {
		t.Errorf("no socket: %v", err)
	}
}
