package mmclient

import (
	"context"
	"errors"
	"io"
	"iter"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	pb "multimodal/go/multimodalpb"
)

type chat = grpc.BidiStreamingServer[pb.DataPacket, pb.Ack]

// echo answers each packet at once.
func echo(call chat) error {
	return each(call, func(packet *pb.DataPacket) error { return call.Send(ok(packet)) })
}

func each(call chat, do func(*pb.DataPacket) error) error {
	for {
		packet, err := call.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := do(packet); err != nil {
			return err
		}
	}
}

func numbers(t *testing.T, count int32) iter.Seq[*Request] {
	return func(yield func(*Request) bool) {
		for number := range count {
			if !yield(request(t, number)) {
				return
			}
		}
	}
}

func TestAnswersComeInTheRequestsOrder(t *testing.T) {
	client := connect(t, &fakeProxy{chat: echo})
	next := int32(0)
	for result, err := range client.InferAll(t.Context(), numbers(t, 100), 3) {
		if err != nil || result.Err != nil {
			t.Fatal(err, result)
		}
		if got := value(t, result); got != next {
			t.Fatalf("%d; expected %d", got, next)
		}
		next++
	}
	if next != 100 {
		t.Errorf("%d answers", next)
	}
}

func TestAStreamOfNothingEnds(t *testing.T) {
	client := connect(t, &fakeProxy{chat: echo})
	for result, err := range client.InferAll(t.Context(), numbers(t, 0), 0) {
		t.Error(result, err)
	}
}

func TestAWindowOfRequestsIsInFlightAndNoMore(t *testing.T) {
	// In the bubble "nobody can go on" can be waited for.
	synctest.Test(t, func(t *testing.T) {
		const window, more = 4, 10
		var sent, taken atomic.Int32
		answer := make(chan struct{})
		client := connect(t, &fakeProxy{chat: func(call chat) error {
			return each(call, func(packet *pb.DataPacket) error {
				taken.Add(1)
				<-answer
				return call.Send(ok(packet))
			})
		}})
		stream := must(client.Stream(t.Context(), window))(t)
		defer stream.Close()
		go func() {
			for made := range numbers(t, window+more) {
				if err := stream.Send(made); err != nil {
					t.Error(err)
				}
				sent.Add(1)
			}
		}()
		for answered := range int32(more) {
			synctest.Wait()
			if sent.Load() != window+answered || len(stream.Unanswered()) != window {
				t.Fatalf("%d are sent after %d answers, %d unanswered", sent.Load(), answered, len(stream.Unanswered()))
			}
			answer <- struct{}{}
			if result := must(stream.Recv())(t); value(t, result) != answered {
				t.Fatalf("%+v", result)
			}
		}
		close(answer)
		synctest.Wait()
		if sent.Load() != window+more {
			t.Errorf("%d are sent", sent.Load())
		}
	})
}

func TestSeveralAnswersToOneRequestKeepItsPlace(t *testing.T) {
	client := connect(t, &fakeProxy{chat: func(call chat) error {
		return each(call, func(packet *pb.DataPacket) error {
			for number := range 3 {
				ack := ok(packet)
				ack.Final = number == 2
				if err := call.Send(ack); err != nil {
					return err
				}
			}
			return nil
		})
	}})
	var seen []bool
	for result, err := range client.InferAll(t.Context(), numbers(t, 2), 1) {
		if err != nil {
			t.Fatal(err)
		}
		seen = append(seen, result.Final)
	}
	if !slices.Equal(seen, []bool{false, false, true, false, false, true}) {
		t.Errorf("%v", seen)
	}
}

func TestARefusedRequestLeavesTheStreamAlone(t *testing.T) {
	client := connect(t, &fakeProxy{chat: func(call chat) error {
		number := 0
		return each(call, func(packet *pb.DataPacket) error {
			number++
			if number == 2 {
				return call.Send(refused(packet, pb.StatusCode_BAD_REQUEST, map[string]any{"error": "size mismatch"}))
			}
			return call.Send(ok(packet))
		})
	}})
	var refusals []string
	for result, err := range client.InferAll(t.Context(), numbers(t, 3), 1) {
		if err != nil {
			t.Fatal(err)
		}
		var refusal *AckError
		if errors.As(result.Err, &refusal) {
			refusals = append(refusals, refusal.Reason)
		} else {
			refusals = append(refusals, "")
		}
	}
	if !slices.Equal(refusals, []string{"", "size mismatch", ""}) {
		t.Errorf("%q", refusals)
	}
}

func TestWhatTheProxyDidNotAcceptCanBeSentAgain(t *testing.T) {
	client := connect(t, &fakeProxy{chat: func(call chat) error {
		packet, err := call.Recv()
		if err != nil {
			return err
		}
		if err := call.Send(ok(packet)); err != nil {
			return err
		}
		call.SetTrailer(metadata.Pairs("mm-unanswered", "not-accepted"))
		return status.Error(codes.Unavailable, "shutting down")
	}})
	stream := must(client.Stream(t.Context(), 3))(t)
	defer stream.Close()
	requests := slices.Collect(numbers(t, 3))
	for _, each := range requests {
		if err := stream.Send(each); err != nil && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
	}
	must(stream.Recv())(t)
	for range 2 {
		// It says so as often as it is asked.
		_, err := stream.Recv()
		var failed *CallError
		if !errors.As(err, &failed) || *failed != (CallError{codes.Unavailable, "shutting down", true, 0}) {
			t.Fatal(err)
		}
	}
	if !slices.Equal(stream.Unanswered(), requests[1:]) {
		t.Errorf("%v are unanswered", stream.Unanswered())
	}
	if err := stream.Send(requests[0]); !errors.Is(err, io.EOF) {
		t.Errorf("a stream that has ended takes a request: %v", err)
	}
}

func TestASendThatWaitsEndsWithTheStream(t *testing.T) {
	client := connect(t, &fakeProxy{chat: func(call chat) error {
		<-call.Context().Done()
		return nil
	}})
	stream := must(client.Stream(t.Context(), 1))(t)
	if err := stream.Send(request(t, 1)); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() { ended <- stream.Send(request(t, 2)) }()
	stream.Close()
	if err := <-ended; !errors.Is(err, io.EOF) {
		t.Error(err)
	}
	if _, err := stream.Recv(); status.Code(err) != codes.Canceled {
		t.Error(err)
	}
}

func TestWhatEndsTheStreamComesLast(t *testing.T) {
	client := connect(t, &fakeProxy{chat: func(chat) error { return status.Error(codes.PermissionDenied, "not yours") }})
	var codesSeen []codes.Code
	for result, err := range client.InferAll(t.Context(), numbers(t, 1000), 2) {
		if result != nil {
			t.Errorf("%+v", result)
		}
		codesSeen = append(codesSeen, status.Code(err))
	}
	if !slices.Equal(codesSeen, []codes.Code{codes.PermissionDenied}) {
		t.Errorf("%v", codesSeen)
	}
}

func TestLeavingTheLoopEndsTheCall(t *testing.T) {
	ended := make(chan error, 1)
	client := connect(t, &fakeProxy{chat: func(call chat) error {
		err := echo(call)
		<-call.Context().Done()
		ended <- err
		return err
	}})
	forever := func(yield func(*Request) bool) {
		for yield(request(t, 1)) {
		}
	}
	for _, err := range client.InferAll(t.Context(), forever, 2) {
		if err != nil {
			t.Fatal(err)
		}
		break
	}
	if err := <-ended; status.Code(err) != codes.Canceled {
		t.Error(err)
	}
}

func TestTheContextEndsAStream(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	client := connect(t, &fakeProxy{chat: echo})
	for _, err := range client.InferAll(ctx, numbers(t, 1000), 2) {
		if err != nil {
			if status.Code(err) != codes.Canceled {
				t.Error(err)
			}
			return
		}
		cancel()
	}
	t.Error("the stream went on to its end")
}

func TestAnAnswerThatNoRequestWaitsForEndsTheStream(t *testing.T) {
	for name, answer := range map[string]func(chat) error{
		"another's": func(call chat) error {
			_, err := call.Recv()
			if err != nil {
				return err
			}
			return call.Send(&pb.Ack{CorrelationId: "other", Message: "{}", Final: true})
		},
		"too many": func(call chat) error {
			return each(call, func(packet *pb.DataPacket) error {
				return errors.Join(call.Send(ok(packet)), call.Send(ok(packet)))
			})
		},
		"too few": func(call chat) error {
			return each(call, func(*pb.DataPacket) error { return nil })
		},
	} {
		client := connect(t, &fakeProxy{chat: answer})
		var last error
		for _, err := range client.InferAll(t.Context(), numbers(t, 1), 2) {
			last = err
		}
		if !errors.Is(last, ErrProtocol) {
			t.Errorf("%s: %v", name, last)
		}
	}
}
