package cookie

import "errors"

// keyringState is the length of a keyring for another process: for each of two secrets whether it is there, its key ID and
// the secret.
const keyringState = 2 * (2 + SecretSize)

var errKeyring = errors.New("the state of a keyring makes no sense")

// AppendState appends the secrets of k, as plain as they are, for the process that takes this one's place. Nothing that stores or
// shows them may get these bytes.
func (k *Keyring) AppendState(b []byte) []byte {
	for _, key := range []*Key{k.current, k.previous} {
		if key == nil {
			b = append(b, make([]byte, 2+SecretSize)...)
			continue
		}
		b = append(append(b, 1, key.keyID), key.secret[:]...)
	}
	return b
}

// KeyringOf is the keyring that AppendState has written.
func KeyringOf(state []byte) (*Keyring, error) {
	if len(state) != keyringState {
		return nil, errKeyring
	}
	var keys [2]*Key
	for i := range keys {
		part := state[i*(2+SecretSize):]
		s := Secret(part[2 : 2+SecretSize])
		if part[0] == 0 {
			continue
		}
		if err := s.check(); err != nil {
			return nil, err
		}
		keys[i] = newKey(s, part[1])
	}
	if keys[0] == nil {
		return nil, errKeyring
	}
	return &Keyring{current: keys[0], previous: keys[1]}, nil
}
