package privileges

import (
	"fmt"
	"os"
	"os/user"
	"strconv"

	"github.com/dtlsguard/dtlsguard/frontend/hint"
)

// DefaultUser is whom a guard that root starts becomes, if there is such a user.
const DefaultUser = "dtlsguard"

// User is whom a guard becomes.
type User struct {
	Name     string
	UID, GID int
}

// LookUp finds the user to become: the named one; with name "" the default one, if there is one and this process is root.
// nil means that the process stays who it is.
func LookUp(name string) (*User, error) {
	if name == "" {
		if os.Geteuid() != 0 {
			return nil, nil
		}
		u, err := lookUp(DefaultUser)
		if err != nil {
			return nil, nil //nolint:nilerr // not there: root stays root
		}
		return u, nil
	}
	u, err := lookUp(name)
	if err != nil {
		return nil, err
	}
	switch {
	case u.UID == os.Geteuid():
		return nil, nil
	case os.Geteuid() != 0:
		return nil, fmt.Errorf("become user %s: only root can, and this is user %d", name, os.Geteuid())
	}
	return u, nil
}

func lookUp(name string) (*User, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return nil, hint.Add(err, "make one: useradd --system "+name)
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.Atoi(u.Gid)
	if err != nil {
		return nil, err
	}
	return &User{Name: name, UID: uid, GID: gid}, nil
}
