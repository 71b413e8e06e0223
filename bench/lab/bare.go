package lab

import "errors"

// Bare takes the programs that pass all off the host's links, for who brings programs of their own.
func (h *Host) Bare() error {
	var errs []error
	for _, l := range h.pass {
		errs = append(errs, l.Close())
	}
	h.pass = nil
	return errors.Join(errs...)
}
