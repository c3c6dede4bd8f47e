// Package criprobe has containerd pull an image, and forget it, as the kubelet would: through
// the image service of CRI on containerd's socket. It decides nothing about the image.
package criprobe

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/shoal-project/shoal/pkg/containerd"
)

const (
	// patience is how long a pull of a few hundred bytes may take, with what fails before it.
	patience = time.Minute
	// answerMax bounds one answer of containerd, in bytes.
	answerMax = 1 << 20
)

// Pull pulls the image through the CRI on the unix socket, and has it removed again. It
// fails with an error that wraps containerd.ErrNoRuntime when nobody answers there.
func Pull(ctx context.Context, socket, reference string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("no end within %s", patience))
	defer cancel()
	conn, err := grpc.NewClient("unix://"+socket,
		grpc.WithTransportCredentials(insecure.NewCredentials()), // a socket that only root opens
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(answerMax)))
	if err != nil {
		return fmt.Errorf("%w at %s: %w", containerd.ErrNoRuntime, socket, err)
	}
	defer func() { _ = conn.Close() }()
	images := cri.NewImageServiceClient(conn)
	image := &cri.ImageSpec{Image: reference}
	if _, err = images.PullImage(ctx, &cri.PullImageRequest{Image: image}); err == nil {
		// An image that stays costs some hundred bytes, and the kubelet collects it.
		_, _ = images.RemoveImage(ctx, &cri.RemoveImageRequest{Image: image})
		return nil
	}
	said := status.Convert(err)
	switch said.Code() { //nolint:exhaustive // every other code is about the pull
	case codes.Unavailable, codes.Unimplemented, codes.PermissionDenied:
		return fmt.Errorf("%w at %s: %s", containerd.ErrNoRuntime, socket, said.Message())
	case codes.DeadlineExceeded:
		return context.Cause(ctx)
	}
	return fmt.Errorf("pull %s: %s", reference, said.Message())
}
