package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"

	"github.com/shoal-project/shoal/pkg/admin"
)

// leakChecked runs the tests and then looks for goroutines that nobody awaited.
type leakChecked struct{ m *testing.M }

func (l leakChecked) Run() int {
	code := l.m.Run()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return code
}

func TestMain(m *testing.M) {
	testscript.Main(leakChecked{m}, map[string]func(){
		"shoal": main,
		// fake-daemon SOCKET answers like a busy daemon until it is interrupted: to look at
		// the commands by hand.
		"fake-daemon": func() {
			ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			if err := fakeDaemon(ctx, os.Args[1], &fakeSource{now: time.Now, moving: true}, nil); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
		},
	})
}

// watchCommand runs "watch N COMMAND...": it interrupts the command after N blocks or
// lines, which must be its ordinary end. Afterwards stdout is what it wrote.
func watchCommand(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	path, err := exec.LookPath(args[1]) // testscript has put it into PATH
	ts.Check(err)
	command := exec.Command(path, args[2:]...)
	command.Dir = ts.MkAbs(".")
	command.Env = append(os.Environ(), "SHOAL_ADMIN_SOCKET="+ts.Getenv("SHOAL_ADMIN_SOCKET"))
	pipe, err := command.StdoutPipe()
	ts.Check(err)
	ts.Check(command.Start())
	var text strings.Builder
	lines := bufio.NewScanner(pipe)
	for seen := 0; lines.Scan(); {
		text.WriteString(lines.Text() + "\n")
		if strings.HasPrefix(lines.Text(), "--- ") || strings.HasPrefix(lines.Text(), "{") {
			if seen++; seen == want {
				ts.Check(command.Process.Signal(os.Interrupt))
			}
		}
	}
	if err := command.Wait(); err != nil {
		ts.Fatalf("interrupted: %v", err)
	}
	if _, err := ts.Stdout().Write([]byte(text.String())); err != nil {
		ts.Fatalf("%v", err)
	}
}

// untilLogCommand runs "untillog TEXT COMMAND...": it interrupts the command once it wrote
// TEXT, which must be its ordinary end. Afterwards stderr is all that it wrote.
func untilLogCommand(ts *testscript.TestScript, _ bool, args []string) {
	path, err := exec.LookPath(args[1]) // testscript has put it into PATH
	ts.Check(err)
	command := exec.Command(path, args[2:]...)
	command.Dir = ts.MkAbs(".")
	command.Env = append(os.Environ(), "SHOAL_LISTEN="+ts.Getenv("SHOAL_LISTEN"))
	reader, writer, err := os.Pipe()
	ts.Check(err)
	command.Stdout, command.Stderr = writer, writer
	ts.Check(command.Start())
	ts.Check(writer.Close())
	var text strings.Builder
	seen := false
	for lines := bufio.NewScanner(reader); lines.Scan(); {
		text.WriteString(lines.Text() + "\n")
		if !seen && strings.Contains(lines.Text(), args[0]) {
			seen = true
			ts.Check(command.Process.Signal(os.Interrupt))
		}
	}
	err = command.Wait()
	if _, writeErr := ts.Stderr().Write([]byte(text.String())); writeErr != nil {
		ts.Fatalf("%v", writeErr)
	}
	if err != nil || !seen {
		ts.Fatalf("interrupted: %v, %s", err, &text)
	}
}

func fakeDaemon(ctx context.Context, socket string, src *fakeSource, listening chan<- error) error {
	server, err := admin.Listen(ctx, admin.Config{Socket: socket, Source: src, Prefetcher: src, Log: slog.New(slog.DiscardHandler), Now: src.now})
	if listening != nil {
		listening <- err
	}
	if err != nil {
		return err
	}
	return server.Serve(ctx)
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			// daemon SOCKET [empty|failing] answers on the socket until the script ends.
			"daemon": func(ts *testscript.TestScript, _ bool, args []string) {
				src := &fakeSource{now: func() time.Time { return noon }}
				if len(args) > 1 {
					src.mood = args[1]
				}
				ctx, cancel := context.WithCancel(context.Background())
				listening, ended := make(chan error, 1), make(chan error, 1)
				go func() { ended <- fakeDaemon(ctx, ts.MkAbs(args[0]), src, listening) }()
				ts.Check(<-listening)
				ts.Defer(func() { cancel(); ts.Check(<-ended) })
			},
			// occupy NAME takes a TCP port of loopback and puts its address into $NAME.
			"occupy": func(ts *testscript.TestScript, _ bool, args []string) {
				listener, err := net.Listen("tcp", "127.0.0.1:0")
				ts.Check(err)
				ts.Defer(func() { _ = listener.Close() })
				_, port, err := net.SplitHostPort(listener.Addr().String())
				ts.Check(err)
				ts.Setenv(args[0], port)
			},
			// mirror NAME answers like a proxy until the script ends, at the address in $NAME.
			"mirror": func(ts *testscript.TestScript, _ bool, args []string) {
				server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					w.Header().Set("Server", "shoal")
				}))
				ts.Defer(server.Close)
				ts.Setenv(args[0], server.Listener.Addr().String())
			},
			// code N COMMAND... checks the exit code.
			"code": func(ts *testscript.TestScript, _ bool, args []string) {
				want, err := strconv.Atoi(args[0])
				ts.Check(err)
				err, got := ts.Exec(args[1], args[2:]...), 0
				if exit, ok := errors.AsType[*exec.ExitError](err); ok {
					got = exit.ExitCode()
				} else {
					ts.Check(err)
				}
				if got != want {
					ts.Fatalf("exit code %d, want %d", got, want)
				}
			},
			"watch":    watchCommand,
			"untillog": untilLogCommand,
			// mode FILE PERMISSIONS checks a file's mode.
			"mode": func(ts *testscript.TestScript, _ bool, args []string) {
				info, err := os.Stat(ts.MkAbs(args[0]))
				ts.Check(err)
				if got := fmt.Sprintf("%04o", info.Mode().Perm()); got != args[1] {
					ts.Fatalf("%s has mode %s, want %s", args[0], got, args[1])
				}
			},
		},
		Condition: func(name string) (bool, error) {
			if name == "root" {
				return os.Geteuid() == 0, nil
			}
			return false, fmt.Errorf("unknown condition %s", name)
		},
	})
}
