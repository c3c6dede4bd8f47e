package admin

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/shoal-project/shoal/pkg/blob"
)

const (
	prefetchPath = "/v1/prefetch"
	// prefetchMax is how many images are prefetched at once; more are refused with 503.
	prefetchMax = 4
	// orderMax bounds a PrefetchOrder, in bytes.
	orderMax = 4 << 10
	// lineWait is how long a client may take to read one line of progress.
	lineWait = 15 * time.Second
)

// A PrefetchOrder asks for an image.
type PrefetchOrder struct {
	Image string `json:"image"`
}

// A PrefetchState says how a prefetch stands.
type PrefetchState string

// The values of PrefetchState. The last document of an answer has one of the latter two.
const (
	PrefetchRunning PrefetchState = "running"
	PrefetchDone    PrefetchState = "done"
	PrefetchFailed  PrefetchState = "failed"
)

// A Prefetch is how far an image is on its way here. All sizes are bytes.
type Prefetch struct {
	// SchemaVersion and Time are set by the server.
	SchemaVersion int       `json:"schema_version"`
	Time          time.Time `json:"time"`

	Image string        `json:"image"`
	State PrefetchState `json:"state"`
	// Error is a sentence for people; empty unless the state is failed.
	Error string `json:"error"`
	// Digest is that of the manifest of this node's platform; null while it is not known.
	Digest *blob.Digest `json:"digest"`
	// Blobs are those of the image, Done those that are proven and kept.
	Blobs int            `json:"blobs"`
	Done  int            `json:"blobs_done"`
	Size  blob.ByteCount `json:"size_bytes"`
	// Have is what is here of Size, proven or not.
	Have blob.ByteCount `json:"have_bytes"`
	// FromRegistry and FromPeers are what this prefetch received from each; the rest was here before.
	FromRegistry blob.ByteCount `json:"from_registry_bytes"`
	FromPeers    blob.ByteCount `json:"from_peers_bytes"`
}

// A Prefetcher brings images onto the node. It is called from many goroutines.
type Prefetcher interface {
	// Prefetch returns when the image is here, or why it is not, in a sentence for people. It tells its
	// progress to report, which is never called twice at once.
	Prefetch(ctx context.Context, image string, report func(Prefetch)) error
}

// prefetch answers an order with one document a line, until the image is here or given up.
func (s *Server) prefetch(w http.ResponseWriter, r *http.Request) {
	select {
	case s.prefetches <- struct{}{}:
		defer func() { <-s.prefetches }()
	default:
		fail(w, http.StatusServiceUnavailable, "too many images are prefetched at once")
		return
	}
	var order PrefetchOrder
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, orderMax))
	if err := decoder.Decode(&order); err != nil || order.Image == "" {
		fail(w, http.StatusBadRequest, `the order is not {"image": "..."}`)
		return
	}
	connection := http.NewResponseController(w)
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.Header().Set("Cache-Control", "no-store")
	last := Prefetch{Image: order.Image}
	tell := func(p Prefetch) {
		p.SchemaVersion, p.Time = SchemaVersion, s.config.Now().UTC()
		last = p
		text, err := json.Marshal(p)
		if err != nil {
			return // unreachable: a Prefetch has a form in JSON
		}
		_ = connection.SetWriteDeadline(time.Now().Add(lineWait)) // the server's is for a whole document
		_, _ = w.Write(append(text, '\n'))                        // a client that is gone ends the context
		_ = connection.Flush()
	}
	err := s.config.Prefetcher.Prefetch(r.Context(), order.Image, func(p Prefetch) {
		p.State = PrefetchRunning
		tell(p)
	})
	if last.State = PrefetchDone; err != nil {
		s.config.Log.WarnContext(r.Context(), "image not prefetched", slog.String("image", order.Image), slog.Any("error", err))
		last.State, last.Error = PrefetchFailed, err.Error()
	}
	tell(last)
}

// silenceMax is how long a client waits for the next line of progress.
const silenceMax = 2 * time.Minute

// Prefetch has the daemon bring an image onto the node, and tells its progress to report. It returns the
// last document, whose state is PrefetchDone, or PrefetchFailed with the reason. Errors are those of Status.
func (c *Client) Prefetch(ctx context.Context, image string, report func(Prefetch)) (Prefetch, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	silence := time.AfterFunc(silenceMax, cancel)
	defer silence.Stop()
	response, err := c.order(ctx, PrefetchOrder{Image: image})
	if err != nil {
		return Prefetch{}, err
	}
	defer response.Body.Close() //nolint:errcheck // it was read to its end, or the error is returned
	lines := json.NewDecoder(response.Body)
	for {
		var p Prefetch
		if err := lines.Decode(&p); err != nil {
			if ctx.Err() != nil {
				return Prefetch{}, context.Cause(ctx)
			}
			return Prefetch{}, errCut
		}
		silence.Reset(silenceMax)
		if p.SchemaVersion != SchemaVersion {
			return Prefetch{}, &SchemaError{Daemon: p.SchemaVersion}
		}
		if p.State != PrefetchRunning {
			return p, nil
		}
		report(p)
	}
}

var errCut = errors.New("the daemon ended in the middle of it; what it has stays, so ask again")

// bodyOf reads the answer to a request that the daemon did not carry out.
func bodyOf(response *http.Response) (string, error) {
	body, err := io.ReadAll(io.LimitReader(response.Body, orderMax))
	var p problem
	if json.Unmarshal(body, &p) != nil || p.Error == "" {
		p.Error = http.StatusText(response.StatusCode)
	}
	return p.Error, err
}
