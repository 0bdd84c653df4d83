package gateway

import (
	"fmt"
	"log/slog"
	"sync"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// droppedFields counts the fields of the agent's messages that the contract doesn't have.
type droppedFields struct {
	log    *slog.Logger
	metric func() // called for each

	mu     sync.Mutex
	counts map[string]int
}

// maxDroppedFields is how many fields are counted by name.
const maxDroppedFields = 64

// add counts a field, and logs the first of each number.
func (d *droppedFields) add(message protoreflect.FullName, number protoreflect.FieldNumber) {
	d.metric()
	if d.count(fmt.Sprintf("%s.%d", message, number)) == 1 {
		d.log.Warn("the agent sends a field that the contract doesn't have, and clients don't get: see --contract", "message", message, "number", number)
	}
}

func (d *droppedFields) count(field string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, known := d.counts[field]; !known && len(d.counts) >= maxDroppedFields {
		return 0
	}
	d.counts[field]++
	return d.counts[field]
}

// logAll logs how often each was there.
func (d *droppedFields) logAll() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.counts) > 0 {
		d.log.Warn("fields of the agent's that clients didn't get", "fields", d.counts)
	}
}
