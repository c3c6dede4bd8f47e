package proxy

import (
	"log/slog"
	"net/http"
	"time"
)

// NewServer returns an http.Server for the handler with the limits of c. The caller
// listens on c.Listen, serves, and shuts it down. There is no write time-out: a body may
// take as long as its client does, each piece of it under Config.WriteStall.
func NewServer(c Config, h http.Handler, log *slog.Logger) *http.Server {
	c = c.withDefaults()
	return &http.Server{
		Addr:              c.Listen,
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    c.MaxHeader,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}
