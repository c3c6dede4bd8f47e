package containerd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/shoal-project/shoal/pkg/containerd/hoststoml"
)

const askPatience = 3 * time.Second

// A StrangerError says that something answers where Shoal should, and is no registry.
type StrangerError struct {
	URL    string
	Status int
}

func (e *StrangerError) Error() string {
	return fmt.Sprintf("what answers at %s is not Shoal (HTTP status %d)", e.URL, e.Status)
}

// Ask asks the mirror for what every registry has, as CheckRequest.Ask. It fails with a
// *StrangerError when the answer is not a registry's, or with why there is none.
func Ask(ctx context.Context, m hoststoml.Mirror) (err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, askPatience, fmt.Errorf("no answer within %s", askPatience))
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, m.URL()+"/v2/", http.NoBody)
	if err != nil {
		return err
	}
	// A client of its own: no proxy of the environment, no redirect, no connection kept.
	client := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true, MaxResponseHeaderBytes: 64 << 10},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	response, err := client.Do(request)
	if ctx.Err() != nil && err != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return unwrapURL(err)
	}
	defer func() { err = errors.Join(err, response.Body.Close()) }()
	if _, err := io.CopyN(io.Discard, response.Body, 64<<10); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if response.StatusCode != http.StatusOK || response.Header.Get("Docker-Distribution-Api-Version") != "registry/2.0" {
		return &StrangerError{URL: m.URL(), Status: response.StatusCode}
	}
	return nil
}

// unwrapURL leaves out the request, which the sentence around the error says.
func unwrapURL(err error) error {
	if inner := errors.Unwrap(err); inner != nil {
		return inner
	}
	return err
}
