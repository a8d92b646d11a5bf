package mmclient

import (
	"encoding/binary"
	"fmt"
	"math"
	"reflect"
	"unsafe"

	pb "multimodal/go/multimodalpb"
)

// Tensor is a value as it travels: Data has the elements in C order, little-endian, without padding; each element of
// DT_BYTES is a 4-byte little-endian length and that many bytes.
type Tensor struct {
	DType pb.DataType
	Shape []int64
	Data  []byte
}

// Float16 holds the bits of an IEEE 754 half.
type Float16 uint16

// BFloat16 holds the upper half of an IEEE 754 single.
type BFloat16 uint16

// Element is a type whose slices are tensors of numbers; BytesTensor and StringsTensor make those of texts.
type Element interface {
	bool | int8 | int16 | int32 | int64 | uint8 | uint16 | uint32 | uint64 | float32 | float64 | Float16 | BFloat16
}

var (
	float16Type  = reflect.TypeFor[Float16]()
	bfloat16Type = reflect.TypeFor[BFloat16]()
	dtypes       = map[reflect.Kind]pb.DataType{
		reflect.Bool:    pb.DataType_DT_BOOL,
		reflect.Int8:    pb.DataType_DT_INT8,
		reflect.Int16:   pb.DataType_DT_INT16,
		reflect.Int32:   pb.DataType_DT_INT32,
		reflect.Int64:   pb.DataType_DT_INT64,
		reflect.Uint8:   pb.DataType_DT_UINT8,
		reflect.Uint16:  pb.DataType_DT_UINT16,
		reflect.Uint32:  pb.DataType_DT_UINT32,
		reflect.Uint64:  pb.DataType_DT_UINT64,
		reflect.Float32: pb.DataType_DT_FP32,
		reflect.Float64: pb.DataType_DT_FP64,
	}
)

func dtypeOf[T Element]() pb.DataType {
	switch element := reflect.TypeFor[T](); element {
	case float16Type:
		return pb.DataType_DT_FP16
	case bfloat16Type:
		return pb.DataType_DT_BF16
	default:
		return dtypes[element.Kind()]
	}
}

// NewTensor copies values, in C order, into a tensor of that shape; without a shape it has one dimension.
func NewTensor[T Element](values []T, shape ...int64) (Tensor, error) {
	shape, err := checkShape(len(values), shape)
	if err != nil {
		return Tensor{}, err
	}
	dtype, data := dtypeOf[T](), make([]byte, binary.Size(values))
	if inMemory(dtype) {
		copy(data, memory(values))
	} else if _, err := binary.Encode(data, binary.LittleEndian, values); err != nil {
		return Tensor{}, fmt.Errorf("mmclient: %w", err)
	}
	return Tensor{DType: dtype, Shape: shape, Data: data}, nil
}

// Values copies a tensor's elements, in C order, into a slice of the type that its DType says.
func Values[T Element](tensor Tensor) ([]T, error) {
	if want := dtypeOf[T](); tensor.DType != want {
		return nil, fmt.Errorf("mmclient: the tensor is %s, which is no %T; expected %s; read it as what DType says",
			tensor.DType, *new(T), want)
	}
	values := make([]T, tensor.elements())
	if size := binary.Size(values); size != len(tensor.Data) {
		return nil, fmt.Errorf("mmclient: the tensor of %s and shape %v has %d bytes; expected %d; Data was changed",
			tensor.DType, tensor.Shape, len(tensor.Data), size)
	}
	if inMemory(tensor.DType) {
		copy(memory(values), tensor.Data)
	} else if _, err := binary.Decode(tensor.Data, binary.LittleEndian, values); err != nil {
		return nil, fmt.Errorf("mmclient: %w", err)
	}
	return values, nil
}

var littleEndian = binary.NativeEndian.Uint16([]byte{1, 0}) == 1

// inMemory says whether elements are in memory as they travel: then they are copied at once, which is many times as
// fast. A bool may be no other byte than 0 and 1, which nobody has checked of what was received.
func inMemory(dtype pb.DataType) bool { return littleEndian && dtype != pb.DataType_DT_BOOL }

// memory is the memory of values.
func memory[T Element](values []T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(values))), binary.Size(values))
}

// BytesTensor makes a tensor of DT_BYTES; without a shape it has one dimension.
func BytesTensor(values [][]byte, shape ...int64) (Tensor, error) { return texts(values, shape) }

// StringsTensor is the same for strings.
func StringsTensor(values []string, shape ...int64) (Tensor, error) { return texts(values, shape) }

func texts[T ~string | ~[]byte](values []T, shape []int64) (Tensor, error) {
	shape, err := checkShape(len(values), shape)
	if err != nil {
		return Tensor{}, err
	}
	size := 0
	for _, value := range values {
		if uint64(len(value)) > math.MaxUint32 {
			return Tensor{}, fmt.Errorf("mmclient: an element has %d bytes; expected less than 4 GiB", len(value))
		}
		size += 4 + len(value)
	}
	data := make([]byte, 0, size)
	for _, value := range values {
		data = binary.LittleEndian.AppendUint32(data, uint32(len(value)))
		data = append(data, value...)
	}
	return Tensor{DType: pb.DataType_DT_BYTES, Shape: shape, Data: data}, nil
}

// Bytes returns the elements of a tensor of DT_BYTES. They are views of Data.
func (t Tensor) Bytes() ([][]byte, error) {
	if t.DType != pb.DataType_DT_BYTES {
		return nil, fmt.Errorf("mmclient: the tensor is %s, which is no texts; expected DT_BYTES; take Values", t.DType)
	}
	values := [][]byte{}
	for rest := t.Data; len(rest) > 0; {
		if len(rest) < 4 || uint64(len(rest)-4) < uint64(binary.LittleEndian.Uint32(rest)) {
			return nil, fmt.Errorf("mmclient: Data ends within element %d; expected its length and as many bytes",
				len(values))
		}
		end := 4 + int(binary.LittleEndian.Uint32(rest))
		values = append(values, rest[4:end:end])
		rest = rest[end:]
	}
	if want := t.elements(); len(values) != want {
		return nil, fmt.Errorf("mmclient: Data has %d elements; expected %d, as shape %v says", len(values), want, t.Shape)
	}
	return values, nil
}

// Strings is the same as strings.
func (t Tensor) Strings() ([]string, error) {
	values, err := t.Bytes()
	if err != nil {
		return nil, err
	}
	made := make([]string, len(values))
	for i, value := range values {
		made[i] = string(value)
	}
	return made, nil
}

func (t Tensor) elements() int {
	count := int64(1)
	for _, dim := range t.Shape {
		count *= dim
	}
	return int(count)
}

func checkShape(count int, shape []int64) ([]int64, error) {
	if shape == nil {
		return []int64{int64(count)}, nil
	}
	for _, dim := range shape {
		if dim < 0 {
			return nil, fmt.Errorf("mmclient: shape %v has a negative dimension; expected 0 or more", shape)
		}
	}
	if elements := (Tensor{Shape: shape}).elements(); elements != count {
		return nil, fmt.Errorf("mmclient: there are %d values for shape %v; expected %d", count, shape, elements)
	}
	return shape, nil
}

// ToBFloat16 rounds to the nearest, ties to even.
func ToBFloat16(value float32) BFloat16 {
	bits := math.Float32bits(value)
	if value != value {
		return BFloat16(bits>>16 | 0x40) // quiet: the bits that make it no infinity may all be below
	}
	return BFloat16((bits + 0x7fff + bits>>16&1) >> 16)
}

// Float32 is exact.
func (b BFloat16) Float32() float32 { return math.Float32frombits(uint32(b) << 16) }

// ToFloat16 rounds to the nearest, ties to even; what is too large is infinite.
func ToFloat16(value float32) Float16 {
	bits := math.Float32bits(value)
	sign := Float16(bits >> 16 & 0x8000)
	magnitude := math.Float32frombits(bits &^ (1 << 31))
	switch {
	case value != value:
		return sign | 0x7e00
	case magnitude >= 65520: // half way to what would be next after the largest, 65504
		return sign | 0x7c00
	case magnitude < 0x1p-14: // subnormal: multiples of 2^-24
		return sign | Float16(math.RoundToEven(float64(magnitude)*0x1p24))
	}
	// A single's exponent is 127-15 higher, and its fraction has 13 bits more.
	bits = math.Float32bits(magnitude) - (127-15)<<23
	return sign | Float16((bits+0xfff+bits>>13&1)>>13)
}

// Float32 is exact.
func (f Float16) Float32() float32 {
	sign, exponent, fraction := uint32(f)>>15<<31, uint32(f)>>10&0x1f, uint32(f)&0x3ff
	switch exponent {
	case 0:
		return math.Float32frombits(math.Float32bits(float32(fraction)*0x1p-24) | sign)
	case 0x1f:
		return math.Float32frombits(sign | 0xff<<23 | fraction<<13)
	}
	return math.Float32frombits(sign | (exponent+127-15)<<23 | fraction<<13)
}
