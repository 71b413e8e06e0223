package lab

import "errors"

// Bare detaches the passing programs, for tests that bring their own programs.
func (l *Lab) Bare() error {
	var errs []error
	for _, x := range l.links {
		errs = append(errs, x.Close())
	}
	l.links = nil
	return errors.Join(errs...)
}
