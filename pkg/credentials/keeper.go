package credentials

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"

	"github.com/docker/docker-credential-helpers/client"
	helpers "github.com/docker/docker-credential-helpers/credentials"
)

const (
	// helperWait is how long a credential helper may take.
	helperWait = 30 * time.Second
	// helperSays bounds what it may say, in bytes.
	helperSays = 256 << 10
	// tokenName is the name under which helpers give an identity token.
	tokenName = "<token>"
)

// A Keeper looks logins up. It reads the file anew each time, so that a login that changed counts at
// once. It is safe for concurrent use.
type Keeper struct {
	// Path is that of a config.json. Required.
	Path string
	// Warn, unless nil, is told in a sentence, each time, that other users of this machine can read the file.
	Warn func(sentence string)
}

// Login returns this node's own login for the registry: with the helper that the file names for it, else
// from the file, else with the file's credsStore. The zero Login means that there is none. Errors hold
// nothing of a login, nor of what a helper said.
func (k Keeper) Login(ctx context.Context, registry string) (Login, error) {
	f, err := os.Open(k.Path)
	if err != nil {
		return Login{}, fmt.Errorf("read the credentials of this node: %w", err)
	}
	defer func() { _ = f.Close() }()
	if info, err := f.Stat(); err == nil && info.Mode().Perm()&0o077 != 0 && k.Warn != nil {
		k.Warn(fmt.Sprintf("the credentials of this node in %s can be read by other users (mode %04o)", k.Path, info.Mode().Perm()))
	}
	content, err := io.ReadAll(io.LimitReader(f, FileMax+1))
	if err != nil {
		return Login{}, fmt.Errorf("read the credentials of this node: %w", err)
	}
	file, err := Parse(content)
	if err != nil {
		return Login{}, fmt.Errorf("read the credentials of this node in %s: %w", k.Path, err)
	}
	registry = registryOf(registry)
	if helper, ok := file.helpers[registry]; ok {
		return ask(ctx, helper, registry)
	}
	if login, ok := file.logins[registry]; ok {
		return login, nil
	}
	if file.store != "" {
		return ask(ctx, file.store, registry)
	}
	return Login{}, nil
}

// ask runs docker-credential-HELPER.
func ask(ctx context.Context, helper, registry string) (Login, error) {
	ctx, cancel := context.WithTimeout(ctx, helperWait)
	defer cancel()
	program := "docker-credential-" + helper
	if _, err := exec.LookPath(program); err != nil {
		return Login{}, fmt.Errorf("%s is not where this daemon looks for programs: install it, or set PATH", program)
	}
	key := registry
	if registry == dockerHub {
		key = dockerHubKey
	}
	found, err := client.Get(func(args ...string) client.Program {
		running, stop := context.WithCancel(ctx)
		return &limited{cmd: exec.CommandContext(running, program, args...), stop: stop} //nolint:gosec // a name of letters that the operator's file gives
	}, key)
	switch {
	case helpers.IsErrCredentialsNotFound(err):
		return Login{}, nil
	case err != nil: // its text repeats what the helper said, which may be anything
		return Login{}, fmt.Errorf("%s gave no login for %s; try: echo %s | %s get", program, registry, key, program)
	}
	login := Login{Name: found.Username, Password: found.Secret}
	if found.Username == tokenName {
		login = Login{IdentityToken: found.Secret}
	}
	return login, login.check()
}

// A limited program is ended when it says more than helperSays.
type limited struct {
	cmd  *exec.Cmd
	stop context.CancelFunc
}

// Input implements client.Program.
func (l *limited) Input(in io.Reader) { l.cmd.Stdin = in }

// Output implements client.Program.
func (l *limited) Output() ([]byte, error) {
	defer l.stop()
	out := capped{stop: l.stop}
	l.cmd.Stdout = &out
	l.cmd.WaitDelay = time.Second // what it started may hold its output open
	err := l.cmd.Run()
	return out.taken.Bytes(), err
}

var errTooMuch = errors.New("a credential helper says too much")

// A capped buffer takes helperSays bytes, and stops whoever writes more. It embeds no bytes.Buffer, whose
// ReadFrom would take everything.
type capped struct {
	taken bytes.Buffer
	stop  context.CancelFunc
}

func (c *capped) Write(p []byte) (int, error) {
	if c.taken.Len()+len(p) > helperSays {
		c.stop()
		return 0, errTooMuch
	}
	return c.taken.Write(p)
}
