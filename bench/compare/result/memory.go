package result

// Memory is what the daemon holds in some state.
type Memory struct {
	Subject  string    `json:"subject"`
	Skipped  string    `json:"skipped,omitempty"`
	Resident uint64    `json:"resident"` // bytes of RAM of the process
	Maps     []MapSize `json:"maps,omitempty"`
}

// MapSize is what the kernel accounts for one BPF map, in bytes.
type MapSize struct {
	Name  string `json:"name"`
	Bytes uint64 `json:"bytes"`
}

// MapBytes is that of all maps.
func (m *Memory) MapBytes() (sum uint64) {
	for _, s := range m.Maps {
		sum += s.Bytes
	}
	return sum
}
