package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"time"
)

const (
	// documentMax is the largest document a client takes, in bytes.
	documentMax = 32 << 20
	// answerWait is how long a client waits for a whole document.
	answerWait = 20 * time.Second
)

// An UnreachableError reports that nobody answers on the socket.
type UnreachableError struct {
	Socket string
	Err    error
}

// Error says what to do about it.
func (e *UnreachableError) Error() string {
	if errors.Is(e.Err, fs.ErrPermission) {
		return fmt.Sprintf("not allowed to open %s; run as the daemon's user (sudo)", e.Socket)
	}
	return fmt.Sprintf("is shoal serve running? looked at %s; use --admin-socket for another one", e.Socket)
}

// Unwrap returns the network's error.
func (e *UnreachableError) Unwrap() error { return e.Err }

// A RefusedError reports that the daemon answered, but not with the document.
type RefusedError struct {
	// Code is the HTTP status.
	Code int
	// Reason is the daemon's own, to be escaped before it reaches a terminal.
	Reason string
}

// Error returns one sentence.
func (e *RefusedError) Error() string {
	return fmt.Sprintf("the daemon cannot say: %s (HTTP %d)", e.Reason, e.Code)
}

// A SchemaError reports a daemon whose documents this client does not know.
type SchemaError struct{ Daemon int }

// Error says what to do about it.
func (e *SchemaError) Error() string {
	return fmt.Sprintf("the daemon speaks version %d of the admin API and this command version %d; use the shoal that runs the daemon", e.Daemon, SchemaVersion)
}

// A Client asks the daemon behind one socket. It is safe for concurrent use.
type Client struct {
	socket string
	http   http.Client
	// orders is http without a limit for the whole answer.
	orders http.Client
}

// NewClient returns a client; nothing is opened before the first call. The caller
// calls Close in the end.
func NewClient(socket string) *Client {
	dialer := &net.Dialer{Timeout: 5 * time.Second}
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			conn, err := dialer.DialContext(ctx, "unix", socket)
			if err != nil {
				return nil, &UnreachableError{Socket: socket, Err: err}
			}
			return conn, nil
		},
		MaxIdleConns:       1,
		IdleConnTimeout:    30 * time.Second,
		DisableCompression: true,
	}
	return &Client{
		socket: socket,
		http:   http.Client{Timeout: answerWait, Transport: transport},
		orders: http.Client{Transport: transport},
	}
}

// Close lets go of idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Status asks for the daemon's state. The error is an *UnreachableError when nobody
// answers, a *RefusedError when the daemon cannot, a *SchemaError when it is of another age.
func (c *Client) Status(ctx context.Context) (Status, error) {
	return fetch[Status](ctx, c, statusPath)
}

// Peers asks for the connected members. Errors are those of Status.
func (c *Client) Peers(ctx context.Context) (PeerList, error) {
	return fetch[PeerList](ctx, c, peersPath)
}

// Layers asks for the blobs of the node. Errors are those of Status.
func (c *Client) Layers(ctx context.Context) (LayerList, error) {
	return fetch[LayerList](ctx, c, layersPath)
}

func fetch[T any](ctx context.Context, c *Client, path string) (T, error) {
	var document T
	body, err := c.get(ctx, path)
	if err != nil {
		return document, err
	}
	var version struct {
		SchemaVersion int `json:"schema_version"`
	}
	if err := json.Unmarshal(body, &version); err != nil {
		return document, fmt.Errorf("read the daemon's answer: %w", err)
	}
	if version.SchemaVersion != SchemaVersion {
		return document, &SchemaError{Daemon: version.SchemaVersion}
	}
	if err := json.Unmarshal(body, &document); err != nil {
		return document, fmt.Errorf("read the daemon's answer: %w", err)
	}
	return document, nil
}

// order sends an order, and returns the answer to one that is carried out. The caller closes its body.
func (c *Client) order(ctx context.Context, order PrefetchOrder) (*http.Response, error) {
	text, err := json.Marshal(order)
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://shoal"+prefetchPath, bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	response, err := c.orders.Do(request)
	if err != nil {
		return nil, unanswered(ctx, err)
	}
	if response.StatusCode == http.StatusOK {
		return response, nil
	}
	reason, err := bodyOf(response)
	return nil, errors.Join(&RefusedError{Code: response.StatusCode, Reason: reason}, err, response.Body.Close())
}

// unanswered explains a request that brought no answer.
func unanswered(ctx context.Context, err error) error {
	if unreachable, ok := errors.AsType[*UnreachableError](err); ok {
		return unreachable
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return fmt.Errorf("ask the daemon: %w", err)
}

func (c *Client) get(ctx context.Context, path string) (_ []byte, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://shoal"+path, http.NoBody)
	if err != nil {
		return nil, err
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, unanswered(ctx, err)
	}
	defer func() { err = errors.Join(err, response.Body.Close()) }()
	body, err := io.ReadAll(io.LimitReader(response.Body, documentMax+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read the daemon's answer: %w", err)
	case len(body) > documentMax:
		return nil, fmt.Errorf("the daemon's answer is larger than %d bytes", documentMax)
	case response.StatusCode != http.StatusOK:
		var p problem
		if json.Unmarshal(body, &p) != nil || p.Error == "" {
			p.Error = http.StatusText(response.StatusCode)
		}
		return nil, &RefusedError{Code: response.StatusCode, Reason: p.Error}
	}
	return body, nil
}
