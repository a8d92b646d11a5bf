package mmclient

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	pb "multimodal/go/multimodalpb"
)

// CallError says that a call failed: the proxy ended it, or gRPC in its place. status.Code and status.FromError know it.
type CallError struct {
	// Code is gRPC's: Unauthenticated, PermissionDenied, ResourceExhausted, Unavailable and so on.
	Code codes.Code
	// Message is the proxy's own words, or gRPC's.
	Message string
	// NotAccepted tells that the proxy accepted none of the requests without an answer: they may be sent again.
	NotAccepted bool
	// RetryAfter is how long the proxy asks to wait; 0 where it does not.
	RetryAfter time.Duration
}

// Error has the code and the words.
func (e *CallError) Error() string {
	text := fmt.Sprintf("mmclient: %s: %s", e.Code, e.Message)
	if e.RetryAfter > 0 {
		text += fmt.Sprintf(" (the proxy asks to wait %s)", e.RetryAfter)
	}
	return text
}

// GRPCStatus is what the status package looks for.
func (e *CallError) GRPCStatus() *status.Status { return status.New(e.Code, e.Message) }

// AckError says that the proxy, or Triton, refused one request. Other requests of its stream are not affected.
type AckError struct {
	CorrelationID string
	Model         string
	// Status is BAD_REQUEST or UNSUPPORTED, where Triton was not asked, or INTERNAL.
	Status pb.StatusCode
	// Reason is the proxy's own words, or Triton's.
	Reason string
	// FromTriton tells that Triton was the cause.
	FromTriton bool
}

// Error has the status, the words and the request's correlation id.
func (e *AckError) Error() string {
	return fmt.Sprintf("mmclient: %s: %s (correlation id %s)", e.Status, e.Reason, e.CorrelationID)
}

// ErrProtocol says that an answer contradicts itself or the contract: client and proxy are of versions that do not fit.
var ErrProtocol = errors.New("mmclient: not an answer of the contract")

// Metadata by which the proxy tells what a client may do (proto/multimodal.proto).
const (
	unanswered  = "mm-unanswered"
	notAccepted = "not-accepted"
	retryAfter  = "retry-after-ms"
)

// callError turns what grpc returns into a *CallError; io.EOF stays what it is.
func callError(err error, trailer metadata.MD) error {
	if err == nil || errors.Is(err, io.EOF) {
		return err
	}
	known := status.Convert(err)
	made := &CallError{Code: known.Code(), Message: known.Message()}
	for _, value := range trailer.Get(unanswered) {
		made.NotAccepted = value == notAccepted
	}
	for _, value := range trailer.Get(retryAfter) {
		if millis, err := strconv.ParseUint(value, 10, 31); err == nil {
			made.RetryAfter = time.Duration(millis) * time.Millisecond
		}
	}
	return made
}
