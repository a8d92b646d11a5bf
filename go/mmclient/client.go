// Package mmclient calls models on NVIDIA Triton through Domino's inference proxy: typed slices in, typed slices out,
// with a Domino identity.
//
//	client, err := mmclient.New("proxy.inference-dev:50051", mmclient.APIKey(key), mmclient.WithPlaintext())
//	if err != nil {
//		return err
//	}
//	defer client.Close()
//	waveform, err := mmclient.NewTensor([]float32{0, 0.5, -0.5}, 3)
//	if err != nil {
//		return err
//	}
//	result, err := client.Infer(ctx, &mmclient.Request{
//		Model:   "audio_level",
//		Version: "1",
//		Inputs:  map[string]mmclient.Tensor{"WAVEFORM": waveform},
//		Outputs: []string{"RMS"},
//	})
//	if err != nil {
//		return err
//	}
//	rms, err := mmclient.Values[float32](result.Outputs["RMS"])
//
// [Client.Stream] and [Client.InferAll] send many requests over one call, with a bounded number of them in flight.
//
// A call that fails returns a [*CallError]; a request that the proxy or Triton refused, an [*AckError], and other
// requests of its stream go on.
package mmclient

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"

	pb "multimodal/go/multimodalpb"
)

// Client is a connection to the proxy. All methods may be called from several goroutines.
type Client struct {
	connection *grpc.ClientConn
	stub       pb.MultimodalServiceClient
	idPrefix   string
	lastID     atomic.Uint64
}

type settings struct {
	transport credentials.TransportCredentials
	dial      []grpc.DialOption
}

// Option changes how New connects.
type Option func(*settings)

// WithPlaintext connects without TLS, as within a cluster whose network policies or mesh protect the way to the proxy.
// The credential travels as it is.
func WithPlaintext() Option {
	return func(s *settings) { s.transport = insecure.NewCredentials() }
}

// WithTLS connects over TLS. The system's authorities are trusted where config is nil or has no RootCAs; Certificates
// are for a proxy that asks for mutual TLS.
func WithTLS(config *tls.Config) Option {
	return func(s *settings) { s.transport = credentials.NewTLS(config) }
}

// WithDialOptions passes grpc's own options on, such as interceptors; they win over this package's.
func WithDialOptions(options ...grpc.DialOption) Option {
	return func(s *settings) { s.dial = append(s.dial, options...) }
}

// New makes a client of the proxy at address, HOST:PORT or one of grpc's targets. It connects with the first call. The
// environment's web proxy is not used: it would be shown the credential.
//
// One of WithPlaintext and WithTLS has to be among the options.
func New(address string, credential Credential, options ...Option) (*Client, error) {
	var chosen settings
	for _, option := range options {
		option(&chosen)
	}
	if credential == nil {
		return nil, errors.New("mmclient: there is no credential; expected an API key or a token; " +
			"pass APIKey, Token, AccessToken or what FromEnvironment finds")
	}
	if chosen.transport == nil {
		return nil, errors.New("mmclient: nothing says how to connect; expected TLS or plaintext; " +
			"pass WithTLS(nil), or WithPlaintext() where the network is trusted")
	}
	dial := append([]grpc.DialOption{
		grpc.WithTransportCredentials(chosen.transport),
		grpc.WithNoProxy(),
		// The proxy has the limit, and says so in words.
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(math.MaxInt32), grpc.MaxCallSendMsgSize(math.MaxInt32)),
		// As often as the proxy allows; without them nobody notices that a load balancer has forgotten a connection.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{
			Time:                30 * time.Second,
			Timeout:             10 * time.Second,
			PermitWithoutStream: true,
		}),
		grpc.WithPerRPCCredentials(perCall{credential}),
	}, chosen.dial...)
	connection, err := grpc.NewClient(address, dial...)
	if err != nil {
		return nil, fmt.Errorf("mmclient: address %q: %w; expected HOST:PORT", address, err)
	}
	return &Client{
		connection: connection,
		stub:       pb.NewMultimodalServiceClient(connection),
		idPrefix:   rand.Text()[:8],
	}, nil
}

// Close ends the connection, and calls under way with it.
func (c *Client) Close() error { return c.connection.Close() }

// Infer asks for one inference and waits for its answer. ctx bounds the call; Request.Timeout bounds Triton's part.
//
// The error is a *CallError or an *AckError. A decoupled model, which may answer more than once, needs a Stream.
func (c *Client) Infer(ctx context.Context, request *Request) (*Result, error) {
	id := c.correlationID(request)
	var trailer metadata.MD
	ack, err := c.stub.SendUnary(ctx, request.packet(id), grpc.Trailer(&trailer))
	if err != nil {
		return nil, callError(err, trailer)
	}
	result, err := resultOf(ack, id)
	if err != nil {
		return nil, err
	}
	return result, result.Err
}

func (c *Client) correlationID(request *Request) string {
	if request.CorrelationID != "" {
		return request.CorrelationID
	}
	return fmt.Sprintf("%s-%d", c.idPrefix, c.lastID.Add(1))
}
