// Package stacktest holds mmclient against a proxy with Triton's sample models behind it: tests/integration/go_client_test.py
// runs it.
package stacktest

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"iter"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"multimodal/go/mmclient"
	pb "multimodal/go/multimodalpb"
)

// connect returns a client of the proxy at MM_ADDR, over TLS where MM_CA has its authority.
func connect(t *testing.T, credential mmclient.Credential) *mmclient.Client {
	t.Helper()
	address := os.Getenv("MM_ADDR")
	if address == "" {
		t.Skip("MM_ADDR does not say where the proxy is")
	}
	transport := mmclient.WithPlaintext()
	if file := os.Getenv("MM_CA"); file != "" {
		pem, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(pem)
		transport = mmclient.WithTLS(&tls.Config{RootCAs: pool})
	}
	client, err := mmclient.New(address, credential, transport)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	})
	return client
}

func known(t *testing.T) *mmclient.Client {
	t.Helper()
	if os.Getenv("MM_ADDR") == "" {
		t.Skip("MM_ADDR does not say where the proxy is")
	}
	credential, err := mmclient.FromEnvironment()
	if err != nil {
		t.Fatal(err)
	}
	return connect(t, credential)
}

func bounded(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func tensor[T mmclient.Element](t *testing.T, values []T, shape ...int64) mmclient.Tensor {
	t.Helper()
	made, err := mmclient.NewTensor(values, shape...)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func values[T mmclient.Element](t *testing.T, tensor mmclient.Tensor) []T {
	t.Helper()
	made, err := mmclient.Values[T](tensor)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func infer(t *testing.T, client *mmclient.Client, request *mmclient.Request) *mmclient.Result {
	t.Helper()
	result, err := client.Infer(bounded(t), request)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

func refusal(t *testing.T, err error) *mmclient.AckError {
	t.Helper()
	var refused *mmclient.AckError
	if !errors.As(err, &refused) {
		t.Fatalf("%v; expected an AckError", err)
	}
	return refused
}

func failure(t *testing.T, err error) *mmclient.CallError {
	t.Helper()
	var failed *mmclient.CallError
	if !errors.As(err, &failed) {
		t.Fatalf("%v; expected a CallError", err)
	}
	return failed
}

func identity(input mmclient.Tensor) *mmclient.Request {
	return &mmclient.Request{
		Model:   "identity_" + strings.ToLower(strings.TrimPrefix(input.DType.String(), "DT_")),
		Version: "1",
		Inputs:  map[string]mmclient.Tensor{"INPUT0": input},
		Outputs: []string{"OUTPUT0"},
	}
}

func TestEveryTypeGoesToTritonAndBack(t *testing.T) {
	client := known(t)
	texts, err := mmclient.StringsTensor([]string{"", "grüß", "\x00\xff"})
	if err != nil {
		t.Fatal(err)
	}
	sent := []mmclient.Tensor{
		tensor(t, []bool{true, false}),
		tensor(t, []int8{-128, 127}),
		tensor(t, []int16{-1 << 15, 1<<15 - 1}),
		tensor(t, []int32{-1 << 31, 1<<31 - 1}),
		tensor(t, []int64{-1 << 63, 1<<63 - 1}),
		tensor(t, []uint8{0, 255}),
		tensor(t, []uint16{0, 1<<16 - 1}),
		tensor(t, []uint32{0, 1<<32 - 1}),
		tensor(t, []uint64{0, 1<<64 - 1}),
		tensor(t, []float32{-0.1, 1e30}),
		tensor(t, []float64{-0.1, 1e300}),
		tensor(t, []mmclient.Float16{mmclient.ToFloat16(-0.5), mmclient.ToFloat16(65504)}),
		tensor(t, []mmclient.BFloat16{mmclient.ToBFloat16(-0.5), mmclient.ToBFloat16(1e30)}),
		texts,
	}
	seen := map[pb.DataType]bool{}
	for _, each := range sent {
		got := infer(t, client, identity(each)).Outputs["OUTPUT0"]
		if got.DType != each.DType || !slices.Equal(got.Shape, each.Shape) || !bytes.Equal(got.Data, each.Data) {
			t.Errorf("%v becomes %v", each, got)
		}
		seen[each.DType] = true
	}
	if len(seen) != len(pb.DataType_name)-1 {
		t.Errorf("of the contract's types there are only %v", seen)
	}
}

func TestSeveralInputsAndOutputs(t *testing.T) {
	result := infer(t, known(t), &mmclient.Request{
		Model:         "add_sub",
		Version:       "1",
		Inputs:        map[string]mmclient.Tensor{"INPUT0": tensor(t, []float32{5, 7}, 1, 2), "INPUT1": tensor(t, []int32{2, 3}, 1, 2)},
		Outputs:       []string{"SUM", "DIFFERENCE", "PRODUCT"},
		CorrelationID: "both",
	})
	sum, difference := values[float32](t, result.Outputs["SUM"]), values[int32](t, result.Outputs["DIFFERENCE"])
	if !slices.Equal(sum, []float32{7, 10}) || !slices.Equal(difference, []int32{3, 4}) {
		t.Errorf("%v, %v", sum, difference)
	}
	if !slices.Equal(result.Missing, []string{"PRODUCT"}) {
		t.Errorf("missing are %v", result.Missing)
	}
	if result.CorrelationID != "both" || result.Model != "add_sub" || result.Version != "1" || result.Timing.GetTotalMs() <= 0 {
		t.Errorf("%+v", result)
	}
}

func frames(t *testing.T, count int, size int) iter.Seq[*mmclient.Request] {
	return func(yield func(*mmclient.Request) bool) {
		for number := range count {
			frame := make([]float32, size)
			frame[0] = float32(number)
			if !yield(identity(tensor(t, frame))) {
				return
			}
		}
	}
}

func TestStreams(t *testing.T) {
	client := known(t)
	for _, each := range []struct{ count, size, window int }{{200, 16, 0}, {8, 1_250_000, 3}} {
		next := 0
		for result, err := range client.InferAll(bounded(t), frames(t, each.count, each.size), each.window) {
			if err != nil {
				t.Fatal(err)
			}
			if result.Err != nil {
				t.Fatal(result.Err)
			}
			got := values[float32](t, result.Outputs["OUTPUT0"])
			if len(got) != each.size || got[0] != float32(next) {
				t.Fatalf("answer %d is of frame %v", next, got[0])
			}
			next++
		}
		if next != each.count {
			t.Errorf("%d answers", next)
		}
	}
}

func square(t *testing.T, number int32) *mmclient.Request {
	return &mmclient.Request{
		Model:   "square_int32",
		Version: "1",
		Inputs:  map[string]mmclient.Tensor{"IN": tensor(t, []int32{number})},
		Outputs: []string{"OUT"},
	}
}

func TestADecoupledModelAnswersOneByOne(t *testing.T) {
	var answers []int32
	var final []bool
	for result, err := range known(t).InferAll(bounded(t), slices.Values([]*mmclient.Request{square(t, 3), square(t, 1)}), 0) {
		if err != nil {
			t.Fatal(err)
		}
		final = append(final, result.Final)
		for _, output := range result.Outputs {
			answers = append(answers, values[int32](t, output)...)
		}
	}
	if !slices.Equal(answers, []int32{3, 3, 3, 1}) || len(final) < 4 || !final[len(final)-1] || final[0] {
		t.Errorf("%v, %v", answers, final)
	}
}

func TestASequenceKeepsItsState(t *testing.T) {
	var requests []*mmclient.Request
	for number := range int32(4) {
		requests = append(requests, &mmclient.Request{
			Model:         "simple_sequence",
			Version:       "1",
			Inputs:        map[string]mmclient.Tensor{"INPUT": tensor(t, []int32{number + 1}, 1, 1)},
			Outputs:       []string{"OUTPUT"},
			SequenceStart: number == 0,
			SequenceEnd:   number == 3,
		})
	}
	var sums []int32
	for result, err := range known(t).InferAll(bounded(t), slices.Values(requests), 0) {
		if err != nil {
			t.Fatal(err)
		}
		if result.Err != nil {
			t.Fatal(result.Err)
		}
		sums = append(sums, values[int32](t, result.Outputs["OUTPUT"])...)
	}
	if !slices.Equal(sums, []int32{1, 3, 6, 10}) {
		t.Errorf("%v", sums)
	}
}

func TestRefusedRequestsHaveTheProxysAndTritonsWords(t *testing.T) {
	client := known(t)
	unknown := identity(tensor(t, []float32{1}))
	unknown.Model = "nope"
	other := identity(tensor(t, []int32{1}))
	other.Model = "identity_fp32"
	cut := identity(tensor(t, []float32{1}))
	cut.Inputs["INPUT0"] = mmclient.Tensor{DType: pb.DataType_DT_FP32, Shape: []int64{1}, Data: make([]byte, 3)}
	slow := &mmclient.Request{
		Model:   "slow_identity",
		Version: "1",
		Inputs:  map[string]mmclient.Tensor{"INPUT0": tensor(t, []float32{1}), "DELAY": tensor(t, []float32{1})},
		Outputs: []string{"OUTPUT0"},
		Timeout: 50 * time.Millisecond,
	}
	// One stream for all: it goes on.
	requests := []*mmclient.Request{unknown, other, cut, slow, identity(tensor(t, []float32{1}))}
	wanted := []struct {
		status     pb.StatusCode
		text       string
		fromTriton bool
	}{
		{pb.StatusCode_INTERNAL, "Request for unknown model: 'nope' is not found", true},
		{pb.StatusCode_BAD_REQUEST, "dtype mismatch: model identity_fp32 takes FP32 for 'INPUT0'", false},
		{pb.StatusCode_BAD_REQUEST, "size mismatch: got 3 bytes, expected 4", false},
		{pb.StatusCode_INTERNAL, "0.05", true},
		{pb.StatusCode_OK, "", false},
	}
	for result, err := range client.InferAll(bounded(t), slices.Values(requests), 0) {
		if err != nil {
			t.Fatal(err)
		}
		want := wanted[0]
		wanted = wanted[1:]
		if want.status == pb.StatusCode_OK {
			if result.Err != nil {
				t.Error(result.Err)
			}
			continue
		}
		refused := refusal(t, result.Err)
		if refused.Status != want.status || !strings.Contains(refused.Reason, want.text) || refused.FromTriton != want.fromTriton {
			t.Errorf("%+v; expected %+v", refused, want)
		}
	}
	if len(wanted) > 0 {
		t.Errorf("no answers for %v", wanted)
	}
	if _, err := client.Infer(bounded(t), cut); !strings.HasPrefix(refusal(t, err).Reason, "size mismatch") {
		t.Error(err)
	}
}

func TestAStrangerIsUnauthenticated(t *testing.T) {
	client := connect(t, mmclient.APIKey("s3cret-of-nobody"))
	request := identity(tensor(t, []float32{1}))
	_, err := client.Infer(bounded(t), request)
	if failed := failure(t, err); failed.Code != codes.Unauthenticated || !failed.NotAccepted || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("%+v", failed)
	}
	results := 0
	for result, err := range client.InferAll(bounded(t), slices.Values([]*mmclient.Request{request, request}), 1) {
		results++
		if failed := failure(t, err); result != nil || failed.Code != codes.Unauthenticated || !failed.NotAccepted {
			t.Errorf("%+v, %+v", result, failed)
		}
	}
	if results != 1 {
		t.Errorf("%d answers", results)
	}
}

func TestADeadlineEndsACall(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := known(t).Infer(ctx, &mmclient.Request{
		Model:   "slow_identity",
		Version: "1",
		Inputs:  map[string]mmclient.Tensor{"INPUT0": tensor(t, []float32{1}), "DELAY": tensor(t, []float32{1})},
		Outputs: []string{"OUTPUT0"},
	})
	if failed := failure(t, err); failed.Code != codes.DeadlineExceeded {
		t.Errorf("%+v", failed)
	}
}
