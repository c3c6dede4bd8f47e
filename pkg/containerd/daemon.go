package containerd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/shoal-project/shoal/pkg/containerd/hoststoml"
	"github.com/shoal-project/shoal/pkg/probeimage"
)

const askPatience = 3 * time.Second

// ErrSilent says that something took the connection where Shoal should be, or keeps it
// waiting, and does not answer.
var ErrSilent = fmt.Errorf("no answer within %s", askPatience)

// A StrangerError says that something answers where Shoal should, and is something else.
type StrangerError struct {
	URL    string
	Status int
}

func (e *StrangerError) Error() string {
	return fmt.Sprintf("what answers at %s is not Shoal (HTTP status %d)", e.URL, e.Status)
}

// Ask asks the mirror for what every registry has, as CheckRequest.Ask. It fails with a
// *StrangerError when the answer is not Shoal's, or with why there is none: ErrSilent where one
// was waited for.
func Ask(ctx context.Context, m hoststoml.Mirror) error {
	_, err := get(ctx, m, "/v2/")
	return err
}

// Asked tells how often the daemon behind the mirror was asked for a tag of the probe image,
// as CheckRequest.Asked. It fails as Ask does.
func Asked(ctx context.Context, m hoststoml.Mirror, tag string) (int, error) {
	header, err := get(ctx, m, "/v2/"+probeimage.Repository+"/manifests/"+tag+"?ns="+probeimage.Registry)
	if err != nil {
		return 0, err
	}
	asked, err := strconv.Atoi(header.Get(probeimage.AskedHeader))
	if err != nil || asked < 0 {
		return 0, fmt.Errorf("what answers at %s is a Shoal that does not count probes", m.URL())
	}
	return asked, nil
}

// get asks Shoal's client port for something that is there, and returns the headers.
func get(ctx context.Context, m hoststoml.Mirror, path string) (_ http.Header, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, askPatience, ErrSilent)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, m.URL()+path, http.NoBody)
	if err != nil {
		return nil, err
	}
	// A client of its own: no proxy of the environment, no redirect, no connection kept.
	client := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true, MaxResponseHeaderBytes: 64 << 10},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	response, err := client.Do(request)
	if ctx.Err() != nil && err != nil {
		return nil, context.Cause(ctx)
	}
	if err != nil {
		return nil, unwrapURL(err)
	}
	defer func() { err = errors.Join(err, response.Body.Close()) }()
	if response.StatusCode != http.StatusOK || response.Header.Get("Server") != probeimage.Server {
		return nil, &StrangerError{URL: m.URL(), Status: response.StatusCode}
	}
	if _, err := io.CopyN(io.Discard, response.Body, 64<<10); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return response.Header, nil
}

// unwrapURL leaves out the request, which the sentence around the error says.
func unwrapURL(err error) error {
	if inner := errors.Unwrap(err); inner != nil {
		return inner
	}
	return err
}
