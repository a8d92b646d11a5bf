package mmclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	pb "multimodal/go/multimodalpb"
)

// DefaultWindow is how many requests a stream has in flight where none is asked for.
const DefaultWindow = 8

// Stream sends many requests over one call. Answers come in the requests' order; at most a window of requests waits for
// its last answer.
//
// One goroutine may send while another receives. With both in one, send no more than the window holds before receiving,
// or take InferAll.
type Stream struct {
	client *Client
	call   grpc.BidiStreamingClient[pb.DataPacket, pb.Ack]
	cancel context.CancelFunc
	// A value for each request in flight; a send waits for a place.
	window chan struct{}
	// Closed when the call has ended.
	ended chan struct{}

	mutex   sync.Mutex
	pending []pendingRequest
	// What the call ended with.
	err error
}

type pendingRequest struct {
	id      string
	request *Request
}

// Stream opens a stream with at most window requests in flight; 0 or less is DefaultWindow. It ends with ctx, and has to
// be closed.
func (c *Client) Stream(ctx context.Context, window int) (*Stream, error) {
	if window <= 0 {
		window = DefaultWindow
	}
	ctx, cancel := context.WithCancel(ctx)
	call, err := c.stub.Chat(ctx)
	if err != nil {
		cancel()
		return nil, callError(err, nil)
	}
	return &Stream{
		client: c,
		call:   call,
		cancel: cancel,
		window: make(chan struct{}, window),
		ended:  make(chan struct{}),
	}, nil
}

// Send sends a request, once the window has a place for it. It returns io.EOF where the call has ended; Recv says why.
func (s *Stream) Send(request *Request) error {
	select {
	case s.window <- struct{}{}:
	case <-s.ended:
		return io.EOF
	}
	id := s.client.correlationID(request)
	// Before it is sent: its answer may come at once.
	s.mutex.Lock()
	s.pending = append(s.pending, pendingRequest{id, request})
	s.mutex.Unlock()
	if err := s.call.Send(request.packet(id)); err != nil {
		if errors.Is(err, io.EOF) {
			return io.EOF
		}
		return callError(err, nil)
	}
	return nil
}

// CloseSend says that no more requests come; Recv returns io.EOF after the last answer.
func (s *Stream) CloseSend() error { return s.call.CloseSend() }

// Recv returns the next answer. A request that was refused is an answer, too: see Result.Err.
//
// The error is io.EOF after CloseSend and the last answer, else a *CallError, or ErrProtocol; the stream has ended then.
func (s *Stream) Recv() (*Result, error) {
	ack, err := s.call.Recv()
	if err != nil {
		err = callError(err, s.call.Trailer())
		if left := len(s.Unanswered()); left > 0 && errors.Is(err, io.EOF) {
			err = fmt.Errorf("%w: the stream ended with %d requests unanswered", ErrProtocol, left)
		}
		return nil, s.end(err)
	}
	result, err := s.answer(ack)
	if err != nil {
		return nil, s.end(err)
	}
	if result.Final {
		<-s.window
	}
	return result, nil
}

func (s *Stream) answer(ack *pb.Ack) (*Result, error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if len(s.pending) == 0 {
		return nil, fmt.Errorf("%w: it answers %q, and no request waits", ErrProtocol, ack.CorrelationId)
	}
	result, err := resultOf(ack, s.pending[0].id)
	if err == nil && result.Final {
		s.pending = s.pending[1:]
	}
	return result, err
}

// end records the first reason, wakes a waiting Send, and ends the call.
func (s *Stream) end(err error) error {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.err == nil {
		s.err = err
		close(s.ended)
		s.cancel()
	}
	return s.err
}

// Unanswered returns the requests without their last answer, oldest first. After a *CallError with NotAccepted, the
// proxy has accepted none of them: all may be sent again, over another stream.
func (s *Stream) Unanswered() []*Request {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	left := make([]*Request, 0, len(s.pending))
	for _, each := range s.pending {
		left = append(left, each.request)
	}
	return left
}

// Close ends the call, whatever is under way.
func (s *Stream) Close() {
	_ = s.end(&CallError{Code: codes.Canceled, Message: "the stream was closed"})
}

// InferAll sends the requests over one stream and yields the answers in their order. It takes a request from the
// sequence, which may be endless, only when the window (0 or less is DefaultWindow) has a place for it.
//
// A request that was refused comes with its error in Result.Err, and the stream goes on. What ends the stream comes last,
// as a pair of nil and the error. Leaving the loop ends the call.
func (c *Client) InferAll(ctx context.Context, requests iter.Seq[*Request], window int) iter.Seq2[*Result, error] {
	return func(yield func(*Result, error) bool) {
		stream, err := c.Stream(ctx, window)
		if err != nil {
			yield(nil, err)
			return
		}
		var sending sync.WaitGroup
		// In this order: the sender ends once the call has.
		defer sending.Wait()
		defer stream.Close()
		sending.Go(func() { stream.sendAll(requests) })
		for {
			result, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				return
			}
			if !yield(result, err) || err != nil {
				return
			}
		}
	}
}

// sendAll sends until there are no more or the call has ended, which Recv reports.
func (s *Stream) sendAll(requests iter.Seq[*Request]) {
	for request := range requests {
		if s.Send(request) != nil {
			return
		}
	}
	_ = s.CloseSend()
}
