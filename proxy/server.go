package proxy

import (
	"log/slog"
	"net/http"
	"time"
)

const (
	// headerWait is how long a client may take to send a request line and its headers.
	headerWait = 10 * time.Second
	// idleWait is how long a connection is kept for its client's next request.
	idleWait = 2 * time.Minute
	// wholeWait is how long a client may take to read an answer that is held in memory for it.
	wholeWait = time.Minute
	// bodyWait is how long the body of a request is thrown away, which no pull has.
	bodyWait = time.Second
)

// NewServer returns an http.Server for the handler with the limits of c. The caller
// listens on c.Listen, serves, and shuts it down. There is no write time-out: a body may
// take as long as its client does, each piece of it under Config.WriteStall.
func NewServer(c Config, h http.Handler, log *slog.Logger) *http.Server {
	c = c.withDefaults()
	lobby := newLobby(2 * c.MaxRequests)
	return &http.Server{
		Addr:              c.Listen,
		Handler:           h,
		ReadHeaderTimeout: headerWait,
		IdleTimeout:       idleWait,
		MaxHeaderBytes:    c.MaxHeader,
		ConnState:         lobby.moved,
		ConnContext:       lobby.comes,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// atOnce has a client read an answer that is held in memory for it while others wait for the room.
func atOnce(w http.ResponseWriter) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(wholeWait)) // a writer without deadlines has no connection
}

// hangUp has the connection closed after the answer to a request that carries a body.
// net/http would read that body first, for as long as its client takes.
func hangUp(w http.ResponseWriter) {
	w.Header().Set("Connection", "close")
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyWait)) // a writer without deadlines has no connection
}
