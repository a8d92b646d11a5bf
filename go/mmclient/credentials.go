package mmclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/credentials"
)

// A Credential says who is calling: it names the one metadata entry of a call that does. It is asked for each call, and
// may be asked from several goroutines.
type Credential interface {
	// Metadata returns the entry's key and value. Its error must not quote a secret.
	Metadata(ctx context.Context) (key, value string, err error)
}

// Longest answer of a token endpoint that is read; a JWT is a few kilobytes.
const largestToken = 64 << 10

// Domino's access tokens live for about five minutes; a minute-old one is still good for opening a call.
const accessTokenMaxAge = time.Minute

const accessTokenTimeout = 5 * time.Second

type entry struct {
	key string
	// A function, since fmt prints the address of one, however deep it lies.
	secret func() string
}

func newEntry(key, secret string) entry { return entry{key, func() string { return secret }} }

func (e entry) Metadata(context.Context) (string, string, error) {
	if err := checkSecret(e.secret()); err != nil {
		return "", "", fmt.Errorf("%s %w", e.key, err)
	}
	return e.key, e.secret(), nil
}

// APIKey is a Domino API key, sent as x-domino-api-key.
func APIKey(key string) Credential { return newEntry("x-domino-api-key", key) }

// Token is a JWT, sent as authorization; it may already begin with the word Bearer.
func Token(token string) Credential { return bearer(token) }

func bearer(token string) entry {
	if word, rest, _ := strings.Cut(strings.TrimSpace(token), " "); strings.EqualFold(word, "bearer") {
		token = rest
	}
	return newEntry("authorization", "Bearer "+strings.TrimSpace(token))
}

// AccessToken is Domino's token service inside workspaces, jobs and apps, at url ($DOMINO_API_PROXY/access-token): each
// call has a token that is at most a minute old.
func AccessToken(url string) Credential {
	// The service runs beside the workload; a web proxy of the environment must not see the token.
	return &accessToken{url: url, client: &http.Client{
		Timeout:   accessTokenTimeout,
		Transport: &http.Transport{},
	}}
}

type accessToken struct {
	url    string
	client *http.Client

	mutex   sync.Mutex
	token   entry
	fetched time.Time
}

func (a *accessToken) Metadata(ctx context.Context) (string, string, error) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	if a.fetched.IsZero() || time.Since(a.fetched) > accessTokenMaxAge {
		token, err := a.fetch(ctx)
		if err != nil {
			return "", "", fmt.Errorf("no token from %s: %w", a.url, err)
		}
		a.token, a.fetched = bearer(token), time.Now()
	}
	return a.token.Metadata(ctx)
}

func (a *accessToken) fetch(ctx context.Context) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, a.url, nil)
	if err != nil {
		return "", err
	}
	response, err := a.client.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("it answers %s; expected 200 and a token", response.Status)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, largestToken))
	if err != nil {
		return "", err
	}
	token := strings.TrimSpace(string(body))
	if err := checkSecret(token); err != nil {
		return "", fmt.Errorf("the answer %w", err)
	}
	return token, nil
}

// FromEnvironment returns the first of Domino's usual places that has a credential: DOMINO_USER_TOKEN, the token
// service at $DOMINO_API_PROXY/access-token, DOMINO_USER_API_KEY, Authorization.
func FromEnvironment() (Credential, error) {
	if token := os.Getenv("DOMINO_USER_TOKEN"); token != "" {
		return Token(token), nil
	}
	if proxy := os.Getenv("DOMINO_API_PROXY"); proxy != "" {
		return AccessToken(strings.TrimRight(proxy, "/") + "/access-token"), nil
	}
	if key := os.Getenv("DOMINO_USER_API_KEY"); key != "" {
		return APIKey(key), nil
	}
	if token := os.Getenv("Authorization"); token != "" {
		return Token(token), nil
	}
	return nil, errors.New("mmclient: the environment has no credential; expected DOMINO_USER_TOKEN, " +
		"DOMINO_API_PROXY, DOMINO_USER_API_KEY or Authorization; set one of them, or pass APIKey or Token")
}

// checkSecret says why secret cannot be sent; it never quotes it.
func checkSecret(secret string) error {
	if bare := strings.TrimPrefix(secret, "Bearer"); strings.TrimSpace(bare) == "" {
		return errors.New("is empty; expected an API key or a token")
	}
	for _, each := range []byte(secret) {
		if each < ' ' || each > '~' {
			return errors.New("has a line break, control or non-ASCII character; expected printable ASCII " +
				"(a trailing newline often comes from reading the value out of a file)")
		}
	}
	return nil
}

// perCall gives grpc a Credential.
type perCall struct{ credential Credential }

var _ credentials.PerRPCCredentials = perCall{}

func (p perCall) GetRequestMetadata(ctx context.Context, _ ...string) (map[string]string, error) {
	key, value, err := p.credential.Metadata(ctx)
	if err != nil {
		return nil, err
	}
	return map[string]string{key: value}, nil
}

// RequireTransportSecurity leaves the decision to WithPlaintext and WithTLS, one of which New insists on.
func (p perCall) RequireTransportSecurity() bool { return false }
