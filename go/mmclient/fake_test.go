package mmclient

import (
	"context"
	"encoding/json"
	"net"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/test/bufconn"

	pb "multimodal/go/multimodalpb"
)

const key = "s3cret-key-of-ann"

// fakeProxy serves the contract as a test says.
type fakeProxy struct {
	pb.UnimplementedMultimodalServiceServer
	unary func(ctx context.Context, packet *pb.DataPacket) (*pb.Ack, error)
	chat  func(call grpc.BidiStreamingServer[pb.DataPacket, pb.Ack]) error
}

func (f *fakeProxy) SendUnary(ctx context.Context, packet *pb.DataPacket) (*pb.Ack, error) {
	return f.unary(ctx, packet)
}

func (f *fakeProxy) Chat(call grpc.BidiStreamingServer[pb.DataPacket, pb.Ack]) error {
	return f.chat(call)
}

// connect returns a client of the fake; both end with the test.
func connect(t *testing.T, fake *fakeProxy) *Client {
	t.Helper()
	return connectAs(t, fake, APIKey(key))
}

func connectAs(t *testing.T, fake *fakeProxy, credential Credential) *Client {
	t.Helper()
	listener := bufconn.Listen(1 << 20)
	server := grpc.NewServer()
	pb.RegisterMultimodalServiceServer(server, fake)
	served := make(chan error)
	go func() { served <- server.Serve(listener) }()
	dial := grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
		return listener.DialContext(ctx)
	})
	client, err := New("passthrough:fake", credential, WithPlaintext(), WithDialOptions(dial))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
		server.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return client
}

// ok answers a packet as the proxy does: each input comes back under its name.
func ok(packet *pb.DataPacket) *pb.Ack {
	control := packet.GetControl()
	ack := &pb.Ack{
		CorrelationId:   packet.GetMeta().GetCorrelationId(),
		Message:         explain(map[string]any{"backend": "triton", "outputs": map[string]any{}}),
		ResolvedControl: &pb.Control{Model: control.GetModel(), ModelVersion: "7"},
		Final:           true,
	}
	for _, input := range packet.GetTensors() {
		ack.Outputs = append(ack.Outputs, &pb.OutputTensor{
			Name:     input.Name,
			Datatype: input.Tensor.Dtype.String()[len("DT_"):],
			Shape:    input.Tensor.Shape,
			Data:     input.Tensor.Data,
		})
	}
	return ack
}

func refused(packet *pb.DataPacket, code pb.StatusCode, message map[string]any) *pb.Ack {
	return &pb.Ack{
		CorrelationId:   packet.GetMeta().GetCorrelationId(),
		Status:          code,
		Message:         explain(message),
		ResolvedControl: packet.GetControl(),
		Final:           true,
	}
}

func explain(message map[string]any) string {
	text, err := json.Marshal(message)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// request has one input, of one number.
func request(t *testing.T, value int32) *Request {
	t.Helper()
	return &Request{
		Model:   "echo",
		Version: "1",
		Inputs:  map[string]Tensor{"IN": must(NewTensor([]int32{value}))(t)},
		Outputs: []string{"IN"},
	}
}

func value(t *testing.T, result *Result) int32 {
	t.Helper()
	return must(Values[int32](result.Outputs["IN"]))(t)[0]
}

// must fails the test of what it is then given where there is an error.
func must[T any](value T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

func credentialOf(ctx context.Context) []string {
	headers, _ := metadata.FromIncomingContext(ctx)
	return headers.Get("x-domino-api-key")
}
