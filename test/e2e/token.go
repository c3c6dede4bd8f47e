package e2e

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A User may pull and push the repositories listed. An empty list is a user whose
// password is right and who may do nothing.
type User struct {
	Name, Password string
	Repositories   []string
}

// A tokenServer gives out the bearer tokens that the registry asks for, as the
// distribution project's token specification describes it. The registry alone checks
// them, against the certificate.
type tokenServer struct {
	realm       string
	certificate string // file with the PEM of the signing certificate
	users       []User

	key *rsa.PrivateKey
	der []byte // certificate
}

const (
	tokenService = "lab-registry"
	tokenIssuer  = "lab-tokens"
	tokenLife    = 5 * time.Minute
)

func (l *Lab) startTokenServer(users []User) *tokenServer {
	l.t.Helper()
	address := l.net.address(lanHost) + ":5001"
	s := &tokenServer{
		realm:       "http://" + address + "/token",
		certificate: filepath.Join(l.dir, "tokens.pem"),
		users:       users,
	}
	if err := s.makeCertificate(); err != nil {
		l.t.Fatalf("making the token server's certificate: %v", err)
	}
	listener, err := new(net.ListenConfig).Listen(l.t.Context(), "tcp4", address)
	if err != nil {
		l.t.Fatalf("starting the token server: %v", err)
	}
	server := &http.Server{Handler: s, ReadHeaderTimeout: patience}
	serving := make(chan struct{})
	go func() {
		defer close(serving)
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			l.t.Errorf("the token server: %v", err)
		}
	}()
	l.t.Cleanup(func() { closeServer(l.t, server, serving) })
	return s
}

func closeServer(t T, server *http.Server, serving <-chan struct{}) {
	t.Helper()
	if err := server.Close(); err != nil {
		t.Errorf("closing a server: %v", err)
	}
	<-serving
}

func (s *tokenServer) makeCertificate() error {
	var err error
	if s.key, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: tokenIssuer},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
	}
	if s.der, err = x509.CreateCertificate(rand.Reader, template, template, &s.key.PublicKey, s.key); err != nil {
		return err
	}
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.der})
	return os.WriteFile(s.certificate, block, 0o600)
}

// ServeHTTP answers both forms that clients use: GET with Basic credentials, and
// POST with an OAuth 2 password grant.
func (s *tokenServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	name, password, ok := r.BasicAuth()
	if r.Method == http.MethodPost {
		name, password, ok = r.PostFormValue("username"), r.PostFormValue("password"), true
	}
	at := slices.IndexFunc(s.users, func(u User) bool { return u.Name == name && u.Password == password })
	if !ok || at < 0 {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = w.Write([]byte(`{"errors":[{"code":"UNAUTHORIZED","message":"the lab does not know this user or password"}]}`))
		return
	}
	var access []grant
	for _, scope := range r.Form["scope"] {
		access = append(access, s.users[at].grants(scope)...)
	}
	token, err := s.sign(name, access)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{
		"token": token, "access_token": token,
		"expires_in": int(tokenLife.Seconds()), "issued_at": time.Now().UTC().Format(time.RFC3339),
	})
}

// A grant is one element of a token's access claim.
type grant struct {
	Type    string   `json:"type"`
	Name    string   `json:"name"`
	Actions []string `json:"actions"`
}

// grants gives what the user may have of a space-separated list of
// "repository:<name>:<action>,<action>".
func (u User) grants(scopes string) []grant {
	var out []grant
	for scope := range strings.FieldsSeq(scopes) {
		parts := strings.Split(scope, ":")
		if len(parts) != 3 || parts[0] != "repository" || !slices.Contains(u.Repositories, parts[1]) {
			continue
		}
		out = append(out, grant{Type: parts[0], Name: parts[1], Actions: strings.Split(parts[2], ",")})
	}
	return out
}

// sign makes a JSON web token (RFC 7519) under RS256, with the certificate in its header.
func (s *tokenServer) sign(subject string, access []grant) (string, error) {
	now := time.Now()
	header, err := json.Marshal(map[string]any{
		"typ": "JWT", "alg": "RS256", "x5c": []string{base64.StdEncoding.EncodeToString(s.der)},
	})
	if err != nil {
		return "", err
	}
	id := make([]byte, 8)
	_, _ = rand.Read(id)
	claims, err := json.Marshal(map[string]any{
		"iss": tokenIssuer, "sub": subject, "aud": tokenService, "access": access,
		"exp": now.Add(tokenLife).Unix(), "nbf": now.Add(-time.Minute).Unix(), "iat": now.Unix(),
		"jti": base64.RawURLEncoding.EncodeToString(id),
	})
	if err != nil {
		return "", err
	}
	signed := base64.RawURLEncoding.EncodeToString(header) + "." + base64.RawURLEncoding.EncodeToString(claims)
	digest := sha256.Sum256([]byte(signed))
	signature, err := rsa.SignPKCS1v15(rand.Reader, s.key, crypto.SHA256, digest[:])
	if err != nil {
		return "", err
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}
