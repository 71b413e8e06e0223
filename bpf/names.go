package bpf

// name is a value's name, or a word for values that the enum does not have.
func name(names []string, i int) string {
	if i >= len(names) {
		return "invalid"
	}
	return names[i]
}
