package scripted

import (
	"container/list"
	"sync"
)

// checkpoints remembers how many steps are behind each of the most recently used workflows.
type checkpoints struct {
	mu    sync.Mutex
	limit int
	byUse list.List // of *progress, the latest in front
	byID  map[string]*list.Element
}

type progress struct {
	workflowID string
	steps      int
}

func newCheckpoints(limit int) *checkpoints {
	return &checkpoints{limit: limit, byID: make(map[string]*list.Element)}
}

// load returns 0 for a workflow that is not known.
func (c *checkpoints) load(workflowID string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	known, ok := c.byID[workflowID]
	if !ok {
		return 0
	}
	c.byUse.MoveToFront(known)
	return known.Value.(*progress).steps
}

func (c *checkpoints) save(workflowID string, steps int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if known, ok := c.byID[workflowID]; ok {
		known.Value.(*progress).steps = steps
		c.byUse.MoveToFront(known)
		return
	}
	c.byID[workflowID] = c.byUse.PushFront(&progress{workflowID, steps})
	if c.byUse.Len() > c.limit {
		c.remove(c.byUse.Back())
	}
}

func (c *checkpoints) forget(workflowID string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if known, ok := c.byID[workflowID]; ok {
		c.remove(known)
	}
}

func (c *checkpoints) remove(known *list.Element) {
	delete(c.byID, c.byUse.Remove(known).(*progress).workflowID)
}
