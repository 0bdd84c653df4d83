package metrics

// MaxStays is how many sessions' phases are timed at a time.
const MaxStays = maxStays

// Timed is how many sessions' phases are timed.
func Timed(m *Metrics) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.byID)
}
