package codec

import (
	"errors"
	"io"
	"slices"
	"sync"
)

// ErrTooBig says that a message is over [MaxMessage], or over [MaxJSON] as JSON.
var ErrTooBig = errors.New("message over 4 MiB")

// keepCapacity is the largest buffer that the pool takes back: one message of many MiB must not cost
// that memory for as long as the process lives.
const keepCapacity = 256 << 10

var buffers = sync.Pool{New: func() any { return &Buffer{Bytes: make([]byte, 0, 1024)} }}

// Buffer holds one encoded message. Get it from [NewBuffer] and give it back with Free.
type Buffer struct {
	Bytes []byte
}

// NewBuffer returns an empty buffer, used before where possible.
func NewBuffer() *Buffer {
	return buffers.Get().(*Buffer)
}

// Free gives the buffer back. The caller must not touch it, nor its Bytes, afterwards.
func (b *Buffer) Free() {
	if cap(b.Bytes) > keepCapacity {
		return
	}
	b.Bytes = b.Bytes[:0]
	buffers.Put(b)
}

// Fill replaces the buffer's bytes with those of one whole message. A message over [MaxJSON] is
// [ErrTooBig]; no more than that and a byte is ever read of it.
func (b *Buffer) Fill(message io.Reader) error {
	b.Bytes = b.Bytes[:0]
	for {
		if len(b.Bytes) == cap(b.Bytes) {
			b.Bytes = slices.Grow(b.Bytes, len(b.Bytes)+1) // twice as large: append would add a quarter
		}
		room := b.Bytes[len(b.Bytes):min(cap(b.Bytes), MaxJSON+1)]
		n, err := message.Read(room)
		b.Bytes = b.Bytes[:len(b.Bytes)+n]
		switch {
		case len(b.Bytes) > MaxJSON:
			return ErrTooBig
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
	}
}
