package lease

// Held is how many workflows the store remembers.
func Held(m *Memory) int { return len(m.held) }
