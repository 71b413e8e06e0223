package result

// Memory is the memory of the daemon in some state.
type Memory struct {
	Subject  string    `json:"subject"`
	Skipped  string    `json:"skipped,omitempty"`
	Resident uint64    `json:"resident"` // bytes of RAM of the process
	Maps     []MapSize `json:"maps,omitempty"`
}

// MapSize is the memory that the kernel accounts for a BPF map.
type MapSize struct {
	Name  string `json:"name"`
	Bytes uint64 `json:"bytes"`
}

// MapBytes is the sum over all maps.
func (m *Memory) MapBytes() (sum uint64) {
	for _, s := range m.Maps {
		sum += s.Bytes
	}
	return sum
}
