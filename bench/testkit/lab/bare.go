package lab

import "errors"

// Bare takes the passing programs off, for who brings programs of their own.
func (l *Lab) Bare() error {
	var errs []error
	for _, x := range l.links {
		errs = append(errs, x.Close())
	}
	l.links = nil
	return errors.Join(errs...)
}
