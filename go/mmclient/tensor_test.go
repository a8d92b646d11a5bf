package mmclient

import (
	"bytes"
	"encoding/binary"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/quick"

	pb "multimodal/go/multimodalpb"
)

func checkRoundTrip[T Element](t *testing.T, dtype pb.DataType, size int) {
	t.Helper()
	t.Run(dtype.String(), func(t *testing.T) {
		comesBack := func(values []T) bool {
			tensor := must(NewTensor(values))(t)
			// Bytes, since NaN is not itself.
			again := must(NewTensor(must(Values[T](tensor))(t)))(t)
			return tensor.DType == dtype && slices.Equal(tensor.Shape, []int64{int64(len(values))}) &&
				len(tensor.Data) == size*len(values) && bytes.Equal(tensor.Data, again.Data)
		}
		if err := quick.Check(comesBack, nil); err != nil {
			t.Error(err)
		}
	})
}

func TestEveryTypeComesBack(t *testing.T) {
	checkRoundTrip[bool](t, pb.DataType_DT_BOOL, 1)
	checkRoundTrip[int8](t, pb.DataType_DT_INT8, 1)
	checkRoundTrip[int16](t, pb.DataType_DT_INT16, 2)
	checkRoundTrip[int32](t, pb.DataType_DT_INT32, 4)
	checkRoundTrip[int64](t, pb.DataType_DT_INT64, 8)
	checkRoundTrip[uint8](t, pb.DataType_DT_UINT8, 1)
	checkRoundTrip[uint16](t, pb.DataType_DT_UINT16, 2)
	checkRoundTrip[uint32](t, pb.DataType_DT_UINT32, 4)
	checkRoundTrip[uint64](t, pb.DataType_DT_UINT64, 8)
	checkRoundTrip[float32](t, pb.DataType_DT_FP32, 4)
	checkRoundTrip[float64](t, pb.DataType_DT_FP64, 8)
	checkRoundTrip[Float16](t, pb.DataType_DT_FP16, 2)
	checkRoundTrip[BFloat16](t, pb.DataType_DT_BF16, 2)
	// And no type of the contract is left out, but the two that are no numbers.
	if want := len(pb.DataType_name) - 2; want != 13 {
		t.Errorf("the contract has %d types of numbers", want)
	}
}

func TestNumbersAreLittleEndian(t *testing.T) {
	for _, each := range []struct {
		tensor Tensor
		want   []byte
	}{
		{must(NewTensor([]int32{1, -2}))(t), []byte{1, 0, 0, 0, 0xfe, 0xff, 0xff, 0xff}},
		{must(NewTensor([]float32{1}))(t), []byte{0, 0, 0x80, 0x3f}},
		{must(NewTensor([]bool{true, false}))(t), []byte{1, 0}},
		{must(NewTensor([]Float16{0x3c00}))(t), []byte{0, 0x3c}},
	} {
		if !bytes.Equal(each.tensor.Data, each.want) {
			t.Errorf("%v; expected %v", each.tensor.Data, each.want)
		}
	}
}

func TestBigEndianMachinesSendTheSame(t *testing.T) {
	values := []float64{1.5, -2}
	here := must(NewTensor(values))(t)
	littleEndian = false
	defer func() { littleEndian = true }()
	if there := must(NewTensor(values))(t); !bytes.Equal(there.Data, here.Data) {
		t.Errorf("%v; expected %v", there.Data, here.Data)
	}
	if back := must(Values[float64](here))(t); !slices.Equal(back, values) {
		t.Errorf("%v; expected %v", back, values)
	}
}

func TestABoolIsOneOfTwo(t *testing.T) {
	got := must(Values[bool](Tensor{pb.DataType_DT_BOOL, []int64{3}, []byte{0, 1, 2}}))(t)
	if !slices.Equal(got, []bool{false, true, true}) {
		t.Errorf("%v", got)
	}
}

func TestAShapeHasAsManyElementsAsThereAreValues(t *testing.T) {
	for _, shape := range [][]int64{{2, 3}, {6, 1}, {1, 6, 1}} {
		if got := must(NewTensor(make([]int8, 6), shape...))(t); !slices.Equal(got.Shape, shape) {
			t.Errorf("%v; expected %v", got.Shape, shape)
		}
	}
	scalar := must(NewTensor([]int8{7}, []int64{}...))(t)
	if len(scalar.Shape) != 0 || !slices.Equal(must(Values[int8](scalar))(t), []int8{7}) {
		t.Errorf("%+v", scalar)
	}
	for want, shape := range map[string][]int64{
		"there are 6 values for shape [2 2]; expected 4":             {2, 2},
		"shape [-2 -3] has a negative dimension; expected 0 or more": {-2, -3},
	} {
		_, number := NewTensor(make([]int8, 6), shape...)
		_, text := BytesTensor(make([][]byte, 6), shape...)
		for _, err := range []error{number, text} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v; expected %q", err, want)
			}
		}
	}
}

func TestATensorIsReadAsWhatItIs(t *testing.T) {
	numbers, texts := must(NewTensor([]uint16{1}))(t), must(StringsTensor([]string{"a"}))(t)
	_, other := Values[BFloat16](numbers)
	_, text := Values[int8](texts)
	_, number := numbers.Strings()
	numbers.Data = numbers.Data[:1]
	_, short := Values[uint16](numbers)
	numbers.Data = make([]byte, 3)
	_, long := Values[uint16](numbers)
	for want, err := range map[string]error{
		"the tensor is DT_UINT16, which is no mmclient.BFloat16; expected DT_BF16": other,
		"the tensor is DT_BYTES, which is no int8; expected DT_INT8":               text,
		"the tensor is DT_UINT16, which is no texts; expected DT_BYTES":            number,
		"has 1 bytes; expected 2": short,
		"has 3 bytes; expected 2": long,
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; expected %q", err, want)
		}
	}
}

func TestTextsComeBack(t *testing.T) {
	comesBack := func(values [][]byte, words []string) bool {
		same := slices.EqualFunc(must(must(BytesTensor(values))(t).Bytes())(t), values, bytes.Equal)
		return same && slices.Equal(must(must(StringsTensor(words))(t).Strings())(t), words)
	}
	if err := quick.Check(comesBack, nil); err != nil {
		t.Error(err)
	}
	tensor := must(StringsTensor([]string{"ä", ""}, 2, 1))(t)
	want := Tensor{pb.DataType_DT_BYTES, []int64{2, 1}, []byte("\x02\x00\x00\x00\xc3\xa4\x00\x00\x00\x00")}
	if !reflect.DeepEqual(tensor, want) {
		t.Errorf("%v", tensor)
	}
}

func TestTextsThatContradictThemselvesAreRefused(t *testing.T) {
	complete := must(StringsTensor([]string{"one", "two"}))(t)
	for end := range len(complete.Data) {
		cut := Tensor{complete.DType, complete.Shape, complete.Data[:end]}
		if _, err := cut.Bytes(); err == nil {
			t.Errorf("%d of %d bytes are taken", end, len(complete.Data))
		}
	}
	lying := binary.LittleEndian.AppendUint32(nil, math.MaxUint32)
	if _, err := (Tensor{complete.DType, []int64{1}, lying}).Bytes(); err == nil {
		t.Error("a length beyond the data is taken")
	}
	complete.Shape = []int64{3}
	if _, err := complete.Bytes(); err == nil || !strings.Contains(err.Error(), "Data has 2 elements; expected 3") {
		t.Error(err)
	}
}

func TestEveryHalfIsASingleAndBack(t *testing.T) {
	for bits := range 1 << 16 {
		half, upper := Float16(bits), BFloat16(bits)
		if exact := half.Float32(); exact == exact && ToFloat16(exact) != half {
			t.Fatalf("FP16 %#04x becomes %v, and that %#04x", bits, exact, ToFloat16(exact))
		} else if exact != exact && ToFloat16(exact).Float32() == ToFloat16(exact).Float32() {
			t.Fatalf("FP16 %#04x is no NaN any more", bits)
		}
		if exact := upper.Float32(); exact == exact && ToBFloat16(exact) != upper {
			t.Fatalf("BF16 %#04x becomes %v, and that %#04x", bits, exact, ToBFloat16(exact))
		} else if exact != exact && ToBFloat16(exact).Float32() == ToBFloat16(exact).Float32() {
			t.Fatalf("BF16 %#04x is no NaN any more", bits)
		}
	}
	if ToFloat16(1).Float32() != 1 || ToFloat16(65504) != 0x7bff || ToFloat16(0x1p-24) != 1 || ToBFloat16(1) != 0x3f80 {
		t.Error("known values are others")
	}
}

// Rounding: between neighbours the nearer, half way the even one, beyond the largest infinity.
func TestSinglesAreRoundedToTheNearestHalf(t *testing.T) {
	for bits := range uint16(0x7c00) {
		low, high := Float16(bits), Float16(bits+1)
		middle := (float64(low.Float32()) + float64(high.Float32())) / 2
		if bits == 0x7bff {
			middle = 65520 // as if the largest had a next
		}
		even := low
		if bits&1 == 1 {
			even = high
		}
		checkRounded(t, ToFloat16, float32(middle), low, even, high)
	}
	for bits := range uint16(0x7f80) {
		low, high := BFloat16(bits), BFloat16(bits+1)
		even := low
		if bits&1 == 1 {
			even = high
		}
		checkRounded(t, ToBFloat16, math.Float32frombits(uint32(bits)<<16|0x8000), low, even, high)
	}
}

func checkRounded[T Float16 | BFloat16](t *testing.T, round func(float32) T, middle float32, low, even, high T) {
	t.Helper()
	below, above := math.Nextafter32(middle, 0), math.Nextafter32(middle, math.MaxFloat32)
	for _, sign := range []T{0, 0x8000} {
		factor := float32(1)
		if sign != 0 {
			factor = -1
		}
		for value, want := range map[float32]T{below: low, middle: even, above: high} {
			if got := round(factor * value); got != want|sign {
				t.Fatalf("%v becomes %#04x; expected %#04x", factor*value, got, want|sign)
			}
		}
	}
}
