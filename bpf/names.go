package bpf

// name returns the name of enum value i, "invalid" if there is none.
func name(names []string, i int) string {
	if i >= len(names) {
		return "invalid"
	}
	return names[i]
}
