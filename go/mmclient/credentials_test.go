package mmclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func metadataOf(t *testing.T, credential Credential) string {
	t.Helper()
	name, value, err := credential.Metadata(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return name + ": " + value
}

func TestCredentialsTravelAsDominoReadsThem(t *testing.T) {
	for want, credential := range map[string]Credential{
		"x-domino-api-key: k":     APIKey("k"),
		"authorization: Bearer t": Token("t"),
		"authorization: Bearer u": Token(" bearer  u "),
	} {
		if got := metadataOf(t, credential); got != want {
			t.Errorf("%q; expected %q", got, want)
		}
	}
}

func TestASecretThatNoHeaderHoldsIsNotQuoted(t *testing.T) {
	for want, credential := range map[string]Credential{
		"x-domino-api-key has a line break":   APIKey("s3cret\n"),
		"authorization has a line break":      Token("s3crét"),
		"x-domino-api-key is empty; expected": APIKey(" "),
		"authorization is empty; expected":    Token("Bearer "),
	} {
		_, _, err := credential.Metadata(t.Context())
		if err == nil || !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "s3c") {
			t.Errorf("%v; expected %q", err, want)
		}
	}
}

func TestNothingPrintsASecret(t *testing.T) {
	fetched := AccessToken("http://domino/access-token").(*accessToken)
	fetched.token = bearer("s3cret")
	client, err := New("h:1", APIKey("s3cret"), WithPlaintext())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for _, each := range []any{APIKey("s3cret"), Token("s3cret"), fetched, perCall{Token("s3cret")}, client} {
		if text := fmt.Sprintf("%v %+v %#v %s", each, each, each, each); strings.Contains(text, "s3cret") {
			t.Errorf("%T shows its secret", each)
		}
	}
}

func TestTheFirstPlaceOfTheEnvironmentIsTaken(t *testing.T) {
	places := []string{"Authorization", "DOMINO_USER_API_KEY", "DOMINO_API_PROXY", "DOMINO_USER_TOKEN"}
	for _, place := range places {
		t.Setenv(place, "")
	}
	if _, err := FromEnvironment(); err == nil || !strings.Contains(err.Error(), "set one of them") {
		t.Error(err)
	}
	for _, place := range places {
		t.Setenv(place, "http://from-"+place+"/")
		credential, err := FromEnvironment()
		if err != nil {
			t.Fatal(err)
		}
		if endpoint, ok := credential.(*accessToken); ok {
			if place != "DOMINO_API_PROXY" || endpoint.url != "http://from-DOMINO_API_PROXY/access-token" {
				t.Errorf("with %s: %s", place, endpoint.url)
			}
		} else if got := metadataOf(t, credential); !strings.HasSuffix(got, "http://from-"+place+"/") {
			t.Errorf("with %s: %s", place, got)
		}
	}
}

// answers stands for the token service.
type answers func() (*http.Response, error)

func (a answers) RoundTrip(*http.Request) (*http.Response, error) { return a() }

func answer(status int, body string) (*http.Response, error) {
	return &http.Response{
		StatusCode: status,
		Status:     http.StatusText(status),
		Body:       io.NopCloser(strings.NewReader(body)),
	}, nil
}

func TestAnAccessTokenIsRenewedAfterAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		credential := AccessToken("http://domino/access-token").(*accessToken)
		credential.client.Transport = answers(func() (*http.Response, error) {
			asked++
			return answer(http.StatusOK, fmt.Sprintf("t%d\n", asked))
		})
		for _, each := range []struct {
			after time.Duration
			want  string
		}{{0, "t1"}, {time.Minute, "t1"}, {time.Nanosecond, "t2"}, {0, "t2"}} {
			time.Sleep(each.after)
			if got := metadataOf(t, credential); got != "authorization: Bearer "+each.want {
				t.Errorf("%s; expected %s", got, each.want)
			}
		}
	})
}

func TestATokenServiceThatFailsIsNamedAndAskedAgain(t *testing.T) {
	credential := AccessToken("http://domino/access-token").(*accessToken)
	for want, transport := range map[string]answers{
		"it answers Forbidden; expected 200 and a token": func() (*http.Response, error) { return answer(http.StatusForbidden, "no") },
		"the answer is empty":                            func() (*http.Response, error) { return answer(http.StatusOK, "\n") },
		"connection refused":                             func() (*http.Response, error) { return nil, errors.New("connection refused") },
	} {
		credential.client.Transport = transport
		_, _, err := credential.Metadata(context.Background())
		if err == nil || !strings.HasPrefix(err.Error(), "no token from http://domino/access-token: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; expected %q", err, want)
		}
	}
	credential.client.Transport = answers(func() (*http.Response, error) { return answer(http.StatusOK, "t") })
	if got := metadataOf(t, credential); got != "authorization: Bearer t" {
		t.Error(got)
	}
}
