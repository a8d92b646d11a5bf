package mmclient

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	pb "multimodal/go/multimodalpb"
)

func TestNewSaysWhatIsMissing(t *testing.T) {
	for want, make := range map[string]func() (*Client, error){
		"there is no credential":      func() (*Client, error) { return New("h:1", nil, WithPlaintext()) },
		"nothing says how to connect": func() (*Client, error) { return New("h:1", APIKey(key)) },
		"expected HOST:PORT":          func() (*Client, error) { return New("unix:a:b\x00", APIKey(key), WithTLS(nil)) },
	} {
		if _, err := make(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; expected %q", err, want)
		}
	}
}

func TestARequestTravelsAsTheContractSays(t *testing.T) {
	var seen *pb.DataPacket
	var credential []string
	client := connect(t, &fakeProxy{unary: func(ctx context.Context, packet *pb.DataPacket) (*pb.Ack, error) {
		seen, credential = packet, credentialOf(ctx)
		return ok(packet), nil
	}})
	result, err := client.Infer(t.Context(), &Request{
		Model:         "m",
		Version:       "3",
		Inputs:        map[string]Tensor{"B": must(NewTensor([]uint8{1, 2, 3, 4}, 2, 2))(t), "A": must(StringsTensor([]string{"x"}))(t)},
		Outputs:       []string{"A", "B"},
		Timeout:       1500 * time.Millisecond,
		CorrelationID: "mine",
		SequenceStart: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	a := &pb.Tensor{Dtype: pb.DataType_DT_BYTES, Shape: &pb.Shape{Dims: []int64{1}}, Data: []byte("\x01\x00\x00\x00x")}
	b := &pb.Tensor{Dtype: pb.DataType_DT_UINT8, Shape: &pb.Shape{Dims: []int64{2, 2}}, Data: []byte{1, 2, 3, 4}}
	want := &pb.DataPacket{
		Meta: &pb.Meta{CorrelationId: "mine"},
		Control: &pb.Control{
			Model:        "m",
			ModelVersion: "3",
			Inputs: []*pb.InputSpec{
				{Name: "A", Dtype: a.Dtype, Shape: a.Shape, From: pb.SourceKind_SRC_TENSOR},
				{Name: "B", Dtype: b.Dtype, Shape: b.Shape, From: pb.SourceKind_SRC_TENSOR},
			},
			Outputs:        []*pb.OutputSpec{{Name: "A"}, {Name: "B"}},
			TimeoutSecs:    1.5,
			OutputEncoding: pb.OutputEncoding_OE_RAW,
		},
		Event:   pb.StreamEvent_SEV_START,
		Tensors: []*pb.NamedTensor{{Name: "A", Tensor: a}, {Name: "B", Tensor: b}},
	}
	if !proto.Equal(seen, want) {
		t.Errorf("sent %v; expected %v", seen, want)
	}
	if !reflect.DeepEqual(credential, []string{key}) {
		t.Error("the call has another credential")
	}
	if result.CorrelationID != "mine" || result.Model != "m" || result.Version != "7" || !result.Final {
		t.Errorf("%+v", result)
	}
	if got := must(Values[uint8](result.Outputs["B"]))(t); !reflect.DeepEqual(got, []uint8{1, 2, 3, 4}) {
		t.Errorf("B is %v", got)
	}
	if got := must(result.Outputs["A"].Strings())(t); !reflect.DeepEqual(got, []string{"x"}) {
		t.Errorf("A is %v", got)
	}
}

func TestEachRequestHasACorrelationIDOfItsOwn(t *testing.T) {
	client := connect(t, &fakeProxy{unary: func(_ context.Context, packet *pb.DataPacket) (*pb.Ack, error) {
		return ok(packet), nil
	}})
	seen := map[string]bool{}
	for range 3 {
		seen[must(client.Infer(t.Context(), request(t, 1)))(t).CorrelationID] = true
	}
	if len(seen) != 3 || seen[""] {
		t.Errorf("%v", seen)
	}
}

func TestAnOutputThatTheModelLacksIsNamed(t *testing.T) {
	client := connect(t, &fakeProxy{unary: func(_ context.Context, packet *pb.DataPacket) (*pb.Ack, error) {
		ack := ok(packet)
		ack.Message = `{"outputs":{"IN":{"dtype":"INT32","shape":[1]},"NOPE":{"error":"missing"}}}`
		return ack, nil
	}})
	result := must(client.Infer(t.Context(), request(t, 1)))(t)
	if !reflect.DeepEqual(result.Missing, []string{"NOPE"}) || len(result.Outputs) != 1 {
		t.Errorf("%+v", result)
	}
}

func TestARefusedRequestIsAnAckError(t *testing.T) {
	client := connect(t, &fakeProxy{unary: func(_ context.Context, packet *pb.DataPacket) (*pb.Ack, error) {
		return refused(packet, pb.StatusCode_INTERNAL, map[string]any{"error": "no such model", "backend": "triton"}), nil
	}})
	asked := request(t, 1)
	asked.CorrelationID = "mine"
	_, err := client.Infer(t.Context(), asked)
	var refusal *AckError
	if !errors.As(err, &refusal) {
		t.Fatal(err)
	}
	want := AckError{"mine", "echo", pb.StatusCode_INTERNAL, "no such model", true}
	if *refusal != want || err.Error() != "mmclient: INTERNAL: no such model (correlation id mine)" {
		t.Errorf("%+v, %v", refusal, err)
	}
}

func TestAFailedCallHasCodeWordsAndTheProxysHints(t *testing.T) {
	client := connect(t, &fakeProxy{unary: func(ctx context.Context, _ *pb.DataPacket) (*pb.Ack, error) {
		hints := metadata.Pairs("mm-unanswered", "not-accepted", "retry-after-ms", "1500")
		if err := grpc.SetTrailer(ctx, hints); err != nil {
			return nil, err
		}
		return nil, status.Error(codes.ResourceExhausted, "too many calls")
	}})
	_, err := client.Infer(t.Context(), request(t, 1))
	var failed *CallError
	if !errors.As(err, &failed) {
		t.Fatal(err)
	}
	want := CallError{codes.ResourceExhausted, "too many calls", true, 1500 * time.Millisecond}
	if *failed != want || status.Code(err) != codes.ResourceExhausted {
		t.Errorf("%+v", failed)
	}
	if err.Error() != "mmclient: ResourceExhausted: too many calls (the proxy asks to wait 1.5s)" {
		t.Error(err)
	}
}

func TestAnAnswerOutsideTheContractIsAnError(t *testing.T) {
	for name, spoil := range map[string]func(*pb.Ack){
		"of another request": func(ack *pb.Ack) { ack.CorrelationId = "other" },
		"without JSON":       func(ack *pb.Ack) { ack.Message = "" },
	} {
		client := connect(t, &fakeProxy{unary: func(_ context.Context, packet *pb.DataPacket) (*pb.Ack, error) {
			ack := ok(packet)
			spoil(ack)
			return ack, nil
		}})
		if _, err := client.Infer(t.Context(), request(t, 1)); !errors.Is(err, ErrProtocol) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestACredentialThatFailsIsUnauthenticatedAndNothingIsSent(t *testing.T) {
	client := connectAs(t, &fakeProxy{unary: func(_ context.Context, packet *pb.DataPacket) (*pb.Ack, error) {
		t.Error("the call was made")
		return ok(packet), nil
	}}, APIKey("s3cret\n"))
	_, err := client.Infer(t.Context(), request(t, 1))
	if status.Code(err) != codes.Unauthenticated || strings.Contains(err.Error(), "s3cret") {
		t.Error(err)
	}
}
