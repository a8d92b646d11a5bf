package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"
)

const (
	greeting = "probe "
	// DNS has its own time, so that a name that resolves slowly never looks like a connection that was dropped.
	lookupWait = 8 * time.Second
	speakWait  = 5 * time.Second
	lineLimit  = 200
)

// parse sorts a target into how it is spoken to, its host and port, and its path.
func parse(target string) (scheme, host, port, path string, err error) {
	if !strings.Contains(target, "://") {
		target = "tcp://" + target
	}
	parsed, err := url.Parse(target)
	if err != nil {
		return "", "", "", "", err
	}
	if parsed.Port() == "" || parsed.Hostname() == "" {
		return "", "", "", "", fmt.Errorf("a target is HOST:PORT, http://HOST:PORT/PATH or grpc://HOST:PORT")
	}
	return parsed.Scheme, parsed.Hostname(), parsed.Port(), parsed.RequestURI(), nil
}

// dial tries one target: looks its name up, connects, and lets it say who it is.
func dial(target string, wait time.Duration) answer {
	scheme, host, port, path, err := parse(target)
	if err != nil {
		return answer{Target: target, Outcome: "error", Detail: err.Error()}
	}
	speak, known := map[string]func(net.Conn, string) (string, error){"tcp": hear, "http": ask, "grpc": call}[scheme]
	if !known {
		return answer{Target: target, Outcome: "error", Detail: "there is no way to speak " + scheme}
	}
	address, outcome, err := lookup(host)
	if err != nil {
		return answer{Target: target, Outcome: outcome, Detail: err.Error()}
	}
	result := answer{Target: target, Address: address}
	connection, err := net.DialTimeout("tcp", net.JoinHostPort(address, port), wait)
	if err != nil {
		result.Outcome, result.Detail = failure(err), err.Error()
		return result
	}
	defer connection.Close()
	connection.SetDeadline(time.Now().Add(speakWait))
	who, err := speak(connection, "http://"+net.JoinHostPort(host, port)+path)
	if err != nil {
		result.Outcome, result.Detail = "stranger", err.Error()
		return result
	}
	result.Outcome, result.Who = "connected", who
	return result
}

func lookup(host string) (address, outcome string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), lookupWait)
	defer cancel()
	found, err := net.DefaultResolver.LookupIP(ctx, "ip4", host)
	var dns *net.DNSError
	switch {
	case errors.As(err, &dns) && dns.IsNotFound:
		return "", "no-such-name", err
	case err != nil:
		return "", "dns-failed", err
	}
	return found[0].String(), "", nil
}

func failure(err error) string {
	var network net.Error
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "unreachable"
	case errors.As(err, &network) && network.Timeout():
		return "dropped"
	}
	return "error"
}

// hear waits for the greeting of a probe that serves.
func hear(connection net.Conn, _ string) (string, error) {
	line, err := bufio.NewReader(io.LimitReader(connection, lineLimit)).ReadString('\n')
	if name, ours := strings.CutPrefix(strings.TrimSpace(line), greeting); ours {
		return name, nil
	}
	return "", fmt.Errorf("said %q instead of its name (%v)", line, err)
}

func ask(connection net.Conn, address string) (string, error) {
	response, err := over(connection, false).Get(address)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	line, _ := bufio.NewReader(io.LimitReader(response.Body, lineLimit)).ReadString('\n')
	return strings.TrimSpace(fmt.Sprint(response.StatusCode, " ", line)), nil
}

// call asks for ServerMetadata, whose empty request is an empty message: one byte "not compressed", four of length.
// https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
func call(connection net.Conn, address string) (string, error) {
	address = strings.TrimSuffix(address, "/") + "/inference.GRPCInferenceService/ServerMetadata"
	request, err := http.NewRequest("POST", address, bytes.NewReader(make([]byte, 5)))
	if err != nil {
		return "", err
	}
	request.Header.Set("Content-Type", "application/grpc")
	request.Header.Set("TE", "trailers")
	response, err := over(connection, true).Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<16))
	if name := serverName(body); name != "" {
		return name, nil
	}
	for _, fields := range []http.Header{response.Header, response.Trailer} {
		if status := fields.Get("grpc-status"); status != "" {
			return fmt.Sprintf("grpc-status %s %s", status, fields.Get("grpc-message")), nil
		}
	}
	return "", fmt.Errorf("HTTP status %d and no gRPC answer (%v)", response.StatusCode, err)
}

// serverName reads field 1, a string, of the one message in a body; "" where there is none.
func serverName(body []byte) string {
	if len(body) < 7 || body[5] != 1<<3|2 {
		return ""
	}
	length, used := binary.Uvarint(body[6:])
	if rest := body[6+max(used, 0):]; used > 0 && length <= uint64(len(rest)) {
		return string(rest[:length])
	}
	return ""
}

// over speaks HTTP on a connection that is open already.
func over(connection net.Conn, http2 bool) *http.Client {
	var protocols http.Protocols
	protocols.SetHTTP1(!http2)
	protocols.SetUnencryptedHTTP2(http2)
	return &http.Client{
		Timeout:       speakWait,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			Protocols:         &protocols,
			DisableKeepAlives: !http2,
			DialContext:       func(context.Context, string, string) (net.Conn, error) { return connection, nil },
		},
	}
}
