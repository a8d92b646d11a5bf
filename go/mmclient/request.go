package mmclient

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	pb "multimodal/go/multimodalpb"
)

// Request is one inference.
type Request struct {
	Model string
	// Version is required by proxies that have not turned REQUIRE_MODEL_VERSION off.
	Version string
	// Inputs has the model's inputs by name, with the batch dimension where the model has one. What a tensor's Data
	// points to must not change until the request is answered.
	Inputs map[string]Tensor
	// Outputs names what is wanted.
	Outputs []string
	// Timeout is the longest that Triton may take; 0 is the proxy's default.
	Timeout time.Duration
	// CorrelationID comes back with the answer and stands in the proxy's logs; made by the client where it is empty.
	CorrelationID string
	// SequenceStart and SequenceEnd mark the first and the last request of a stateful model's sequence. A stream has
	// one sequence for each model at a time.
	SequenceStart, SequenceEnd bool
}

func (r *Request) packet(id string) *pb.DataPacket {
	packet := &pb.DataPacket{
		Meta: &pb.Meta{CorrelationId: id},
		Control: &pb.Control{
			Model:          r.Model,
			ModelVersion:   r.Version,
			TimeoutSecs:    float32(r.Timeout.Seconds()),
			OutputEncoding: pb.OutputEncoding_OE_RAW,
		},
		Event: pb.StreamEvent_SEV_DATA,
	}
	switch {
	case r.SequenceStart:
		packet.Event = pb.StreamEvent_SEV_START
	case r.SequenceEnd:
		packet.Event = pb.StreamEvent_SEV_END
	}
	for _, name := range r.Outputs {
		packet.Control.Outputs = append(packet.Control.Outputs, &pb.OutputSpec{Name: name})
	}
	for _, name := range slices.Sorted(maps.Keys(r.Inputs)) {
		value := r.Inputs[name]
		tensor := &pb.Tensor{Dtype: value.DType, Shape: &pb.Shape{Dims: value.Shape}, Data: value.Data}
		packet.Control.Inputs = append(packet.Control.Inputs, &pb.InputSpec{
			Name:  name,
			Shape: tensor.Shape,
			Dtype: tensor.Dtype,
			From:  pb.SourceKind_SRC_TENSOR,
		})
		packet.Tensors = append(packet.Tensors, &pb.NamedTensor{Name: name, Tensor: tensor})
	}
	return packet
}

// Result is an answer to a request: its only one, or one of several from a decoupled model.
type Result struct {
	CorrelationID string
	Model         string
	// Version is the one that served, also where the request left it open.
	Version string
	// Outputs has the wanted outputs that the model has.
	Outputs map[string]Tensor
	// Missing names the wanted outputs that the model lacks.
	Missing []string
	// Timing says how long the parts of the work took.
	Timing *pb.Timing
	// Final is true on the only or last answer to the request.
	Final bool
	// Err is nil or an *AckError; with it there are no outputs.
	Err error
}

// explanation is what a client reads of Ack.message.
type explanation struct {
	Error   string `json:"error"`
	Backend string `json:"backend"`
	Outputs map[string]struct {
		Error string `json:"error"`
	} `json:"outputs"`
}

func resultOf(ack *pb.Ack, id string) (*Result, error) {
	if ack.CorrelationId != id {
		return nil, fmt.Errorf("%w: it answers %q; expected %q", ErrProtocol, ack.CorrelationId, id)
	}
	var explained explanation
	if err := json.Unmarshal([]byte(ack.Message), &explained); err != nil {
		return nil, fmt.Errorf("%w: its message: %w", ErrProtocol, err)
	}
	control := ack.GetResolvedControl()
	result := &Result{
		CorrelationID: id,
		Model:         control.GetModel(),
		Version:       control.GetModelVersion(),
		Timing:        ack.GetTiming(),
		Final:         ack.Final,
	}
	if ack.Status != pb.StatusCode_OK {
		result.Err = &AckError{
			CorrelationID: id,
			Model:         result.Model,
			Status:        ack.Status,
			Reason:        explained.Error,
			FromTriton:    explained.Backend == "triton",
		}
		return result, nil
	}
	result.Outputs = make(map[string]Tensor, len(ack.Outputs))
	for _, output := range ack.Outputs {
		result.Outputs[output.Name] = Tensor{
			DType: pb.DataType(pb.DataType_value["DT_"+output.Datatype]),
			Shape: output.GetShape().GetDims(),
			Data:  output.Data,
		}
	}
	for _, name := range slices.Sorted(maps.Keys(explained.Outputs)) {
		if explained.Outputs[name].Error != "" {
			result.Missing = append(result.Missing, name)
		}
	}
	return result, nil
}
