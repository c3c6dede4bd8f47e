package socket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	events "github.com/containerd/containerd/api/events"
	contents "github.com/containerd/containerd/api/services/content/v1"
	streams "github.com/containerd/containerd/api/services/events/v1"
	"github.com/containerd/containerd/api/types"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/content"
)

const (
	// answerMax bounds one message of containerd, in bytes: as much as it sends itself.
	answerMax = 16 << 20
	// listPatience is how long a listing may take.
	listPatience = time.Minute
	// retryMax bounds the pause between two attempts to connect, which would grow to minutes.
	retryMax = 5 * time.Second
	// namespaceKey is how containerd is told a namespace.
	namespaceKey = "containerd-namespace"
)

// A Socket is one containerd. It is safe for concurrent use. Close it.
type Socket struct {
	conn      *grpc.ClientConn
	namespace string
}

// Open prepares to ask the containerd at the unix socket about one of its namespaces. It does
// not connect: whether somebody is there shows at the first question, and at each again.
func Open(path, namespace string) (*Socket, error) {
	conn, err := grpc.NewClient("unix://"+path,
		grpc.WithTransportCredentials(insecure.NewCredentials()), // a socket that only root opens
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 2, Jitter: 0.2, MaxDelay: retryMax},
			MinConnectTimeout: retryMax,
		}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(answerMax)))
	if err != nil {
		return nil, fmt.Errorf("containerd's socket %s: %w", path, err)
	}
	return &Socket{conn: conn, namespace: namespace}, nil
}

// Close ends every question under way.
func (s *Socket) Close() error { return s.conn.Close() }

func (s *Socket) in(ctx context.Context) context.Context {
	return metadata.AppendToOutgoingContext(ctx, namespaceKey, s.namespace)
}

// List implements content.Runtime.
func (s *Socket) List(ctx context.Context) ([]content.Held, error) {
	ctx, cancel := context.WithTimeoutCause(s.in(ctx), listPatience, fmt.Errorf("no end within %s", listPatience))
	defer cancel()
	stream, err := contents.NewContentClient(s.conn).List(ctx, &contents.ListContentRequest{})
	if err != nil {
		return nil, fmt.Errorf("list containerd's content: %w", err)
	}
	var all []*contents.Info
	for len(all) < content.HeldMax {
		answer, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("list containerd's content: %w", err)
		}
		all = append(all, answer.GetInfo()...)
	}
	slices.SortStableFunc(all, func(a, b *contents.Info) int {
		return b.GetCreatedAt().AsTime().Compare(a.GetCreatedAt().AsTime())
	})
	held := make([]content.Held, 0, min(len(all), content.HeldMax))
	for _, info := range all[:min(len(all), content.HeldMax)] {
		if d, err := blob.ParseDigest(info.GetDigest()); err == nil {
			held = append(held, content.Held{Digest: d, Size: blob.ByteCount(info.GetSize())})
		}
	}
	return held, nil
}

// Follow implements content.Runtime.
func (s *Socket) Follow(ctx context.Context, tell func(content.Event)) error {
	stream, err := streams.NewEventsClient(s.conn).Subscribe(s.in(ctx), &streams.SubscribeRequest{
		Filters: []string{fmt.Sprintf("namespace==%q,topic~=%q", s.namespace, "^/(content|images)/")},
	})
	if err != nil {
		return fmt.Errorf("follow containerd's events: %w", err)
	}
	for {
		envelope, err := stream.Recv()
		if err != nil {
			return fmt.Errorf("follow containerd's events: %w", err)
		}
		if ev := eventOf(envelope); ev != nil {
			tell(ev)
		}
	}
}

// eventOf is what an event of containerd's means here; nil is nothing. Whatever cannot be read
// may have changed anything. Garbage collection says nothing of the blobs that it removes.
func eventOf(envelope *types.Envelope) content.Event {
	value := envelope.GetEvent().GetValue()
	switch envelope.GetTopic() {
	case "/content/create":
		var ev events.ContentCreate
		if err := proto.Unmarshal(value, &ev); err != nil {
			return content.Changed{}
		}
		d, err := blob.ParseDigest(ev.GetDigest())
		if err != nil {
			return nil // of another algorithm
		}
		return content.Created{Held: content.Held{Digest: d, Size: blob.ByteCount(ev.GetSize())}}
	case "/content/delete":
		var ev events.ContentDelete
		if err := proto.Unmarshal(value, &ev); err != nil {
			return content.Changed{}
		}
		d, err := blob.ParseDigest(ev.GetDigest())
		if err != nil {
			return nil
		}
		return content.Removed{Digest: d}
	case "/images/create", "/images/update", "/images/delete":
		return content.Changed{}
	default:
		return nil
	}
}
