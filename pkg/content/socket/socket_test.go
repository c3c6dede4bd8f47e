package socket_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"testing"
	"time"

	events "github.com/containerd/containerd/api/events"
	contents "github.com/containerd/containerd/api/services/content/v1"
	streams "github.com/containerd/containerd/api/services/events/v1"
	"github.com/containerd/containerd/api/types"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/content"
	"github.com/shoal-project/shoal/pkg/content/socket"
)

// A server is the two services of a containerd that are asked.
type server struct {
	contents.UnimplementedContentServer
	streams.UnimplementedEventsServer
	infos     []*contents.Info
	envelopes []*types.Envelope

	namespaces []string
	filters    []string
}

func (s *server) List(_ *contents.ListContentRequest, stream contents.Content_ListServer) error {
	s.note(stream.Context())
	for some := range slices.Chunk(s.infos, 2) {
		if err := stream.Send(&contents.ListContentResponse{Info: some}); err != nil {
			return err
		}
	}
	return nil
}

func (s *server) Subscribe(request *streams.SubscribeRequest, stream streams.Events_SubscribeServer) error {
	s.note(stream.Context())
	s.filters = request.GetFilters()
	for _, e := range s.envelopes {
		if err := stream.Send(e); err != nil {
			return err
		}
	}
	return errors.New("containerd stops")
}

func (s *server) note(ctx context.Context) {
	md, _ := metadata.FromIncomingContext(ctx)
	s.namespaces = append(s.namespaces, md.Get("containerd-namespace")...)
}

func open(t *testing.T, s *server) *socket.Socket {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer()
	contents.RegisterContentServer(g, s)
	streams.RegisterEventsServer(g, s)
	ended := make(chan error, 1)
	go func() { ended <- g.Serve(listener) }()
	client, err := socket.Open(path, "some.space")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		g.Stop()
		if err := errors.Join(client.Close(), <-ended); err != nil {
			t.Error(err)
		}
	})
	return client
}

func TestList(t *testing.T) {
	s := &server{}
	for n := range 5 {
		s.infos = append(s.infos, &contents.Info{
			Digest: blob.Digest{byte(n)}.String(), Size: int64(100 + n), CreatedAt: timestamppb.New(time.Unix(int64(1000+n), 0)),
		})
	}
	s.infos = append(s.infos, &contents.Info{Digest: "sha512:abc", Size: 1}, &contents.Info{})
	held, err := open(t, s).List(t.Context())
	want := "[{04 104} {03 103} {02 102} {01 101} {00 100}]"
	short := make([]string, len(held))
	for i, h := range held {
		short[i] = fmt.Sprintf("{%s %d}", h.Digest.Hex()[:2], h.Size)
	}
	if err != nil || fmt.Sprint(short) != want || !slices.Equal(s.namespaces, []string{"some.space"}) {
		t.Errorf("%v in %v, %v; want %s, the latest first", short, s.namespaces, err, want)
	}
}

func TestListIsBounded(t *testing.T) {
	s := &server{}
	for n := range content.HeldMax + 100 {
		s.infos = append(s.infos, &contents.Info{Digest: blob.Digest{byte(n), byte(n >> 8), byte(n >> 16)}.String()})
	}
	if held, err := open(t, s).List(t.Context()); err != nil || len(held) != content.HeldMax {
		t.Errorf("%d blobs, %v", len(held), err)
	}
}

func envelope(t *testing.T, topic string, m proto.Message) *types.Envelope {
	t.Helper()
	value, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return &types.Envelope{Topic: topic, Event: &anypb.Any{Value: value}}
}

func TestFollow(t *testing.T) {
	d := blob.Digest{7}
	s := &server{envelopes: []*types.Envelope{
		envelope(t, "/content/create", &events.ContentCreate{Digest: d.String(), Size: 70}),
		envelope(t, "/content/create", &events.ContentCreate{Digest: "sha512:abc", Size: 70}),
		{Topic: "/content/create", Event: &anypb.Any{Value: []byte{0xff}}},
		{Topic: "/content/create"},
		envelope(t, "/images/create", &events.ImageCreate{Name: "a"}),
		envelope(t, "/images/delete", &events.ImageDelete{Name: "a"}),
		envelope(t, "/tasks/start", &events.TaskStart{}),
		envelope(t, "/content/delete", &events.ContentDelete{Digest: d.String()}),
		{},
	}}
	var told []string
	err := open(t, s).Follow(t.Context(), func(ev content.Event) {
		switch ev := ev.(type) {
		case content.Created:
			told = append(told, fmt.Sprintf("created %s %d", ev.Held.Digest.Hex()[:2], ev.Held.Size))
		case content.Removed:
			told = append(told, "removed "+ev.Digest.Hex()[:2])
		case content.Changed:
			told = append(told, "changed")
		}
	})
	want := []string{"created 07 70", "changed", "changed", "changed", "removed 07"}
	if err == nil || !slices.Equal(told, want) || !slices.Equal(s.filters, []string{`namespace=="some.space",topic~="^/(content|images)/"`}) {
		t.Errorf("told %q with filters %q, %v", told, s.filters, err)
	}
}

func TestNobodyIsThere(t *testing.T) {
	s, err := socket.Open(filepath.Join(t.TempDir(), "none"), "k8s.io")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	if _, err := s.List(t.Context()); err == nil {
		t.Error("it lists nobody's content")
	}
	if err := s.Follow(t.Context(), func(content.Event) {}); err == nil {
		t.Error("it follows nobody")
	}
}
