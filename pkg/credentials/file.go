package credentials

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/shoal-project/shoal/pkg/jsondepth"
)

// Limits on a config.json, which an operator or a tool of the registry's writes.
const (
	// FileMax is the largest file, in bytes.
	FileMax   = 1 << 20
	depthMax  = 16
	loginsMax = 1024
	// secretMax is the longest name, password or token, in bytes.
	secretMax = 64 << 10
	helperMax = 64
)

// ErrFile is wrapped for a file that is no config.json of docker's. The error repeats nothing of it.
var ErrFile = errors.New("not a config.json as docker writes it")

// A File is what a config.json says of logins. The zero value knows none.
type File struct {
	logins  map[string]Login
	helpers map[string]string // by registry
	store   string            // the helper of all others
}

type rawFile struct {
	Auths   map[string]rawLogin `json:"auths"`
	Helpers map[string]string   `json:"credHelpers"`
	Store   string              `json:"credsStore"`
}

type rawLogin struct {
	Auth          string `json:"auth"` // base64 of NAME:PASSWORD
	Name          string `json:"username"`
	Password      string `json:"password"`
	IdentityToken string `json:"identitytoken"`
	RegistryToken string `json:"registrytoken"`
}

// Parse reads a config.json. Errors wrap ErrFile and hold nothing of the content.
func Parse(content []byte) (File, error) {
	if len(content) > FileMax {
		return File{}, fmt.Errorf("%w: it is larger than %d bytes", ErrFile, FileMax)
	}
	if jsondepth.Exceeds(content, depthMax) {
		return File{}, fmt.Errorf("%w: it is nested deeper than %d", ErrFile, depthMax)
	}
	var raw rawFile
	if err := json.Unmarshal(content, &raw); err != nil || !bytes.HasPrefix(bytes.TrimLeft(content, " \t\r\n"), []byte("{")) {
		return File{}, fmt.Errorf("%w: malformed JSON", ErrFile)
	}
	if len(raw.Auths) > loginsMax || len(raw.Helpers) > loginsMax {
		return File{}, fmt.Errorf("%w: more than %d registries", ErrFile, loginsMax)
	}
	f := File{logins: map[string]Login{}, helpers: map[string]string{}, store: raw.Store}
	if raw.Store != "" && !validHelper(raw.Store) {
		return File{}, fmt.Errorf("%w: credsStore is no name of a helper", ErrFile)
	}
	for address, helper := range raw.Helpers {
		if !validHelper(helper) {
			return File{}, fmt.Errorf("%w: credHelpers has something that is no name of a helper", ErrFile)
		}
		f.helpers[registryOf(address)] = helper
	}
	for address, one := range raw.Auths {
		login, err := one.login()
		if err != nil {
			return File{}, err
		}
		if login.IsZero() {
			continue // where a helper has it, docker leaves an empty entry
		}
		f.logins[registryOf(address)] = login
	}
	return f, nil
}

func (r rawLogin) login() (Login, error) {
	l := Login{Name: r.Name, Password: r.Password, IdentityToken: r.IdentityToken, RegistryToken: r.RegistryToken}
	if r.Auth != "" {
		text, err := base64.StdEncoding.DecodeString(r.Auth)
		name, password, ok := strings.Cut(strings.TrimRight(string(text), "\x00"), ":")
		if err != nil || !ok {
			return Login{}, fmt.Errorf("%w: an auth that is not base64 of NAME:PASSWORD", ErrFile)
		}
		l.Name, l.Password = name, password
	}
	return l, l.check()
}

// validHelper reports whether the name can be the end of a program's: docker-credential-NAME.
func validHelper(name string) bool {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	return len(name) <= helperMax && strings.Trim(name, ".") != "" && strings.Trim(name, letters+"-_.") == ""
}

const (
	dockerHub = "docker.io"
	// dockerHubKey is under what docker keeps the login of Docker Hub.
	dockerHubKey = "https://index.docker.io/v1/"
)

// registryOf is the registry that an entry's address means: it may be a URL, and Docker Hub has
// several names.
func registryOf(address string) string {
	for _, scheme := range []string{"https://", "http://"} {
		address = strings.TrimPrefix(address, scheme)
	}
	host, _, _ := strings.Cut(address, "/")
	switch host = strings.ToLower(host); host {
	case "index.docker.io", "registry-1.docker.io":
		return dockerHub
	}
	return host
}
