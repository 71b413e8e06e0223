package frontend

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dtlsguard/dtlsguard/cookie"
	"github.com/dtlsguard/dtlsguard/frontend/regular"
)

// script is an entropy source that gives one reader after the other.
type script []io.Reader

func (s *script) Read(p []byte) (int, error) {
	if len(*s) == 0 {
		return 0, errors.New("entropy is gone")
	}
	r := (*s)[0]
	n, err := r.Read(p)
	if err != nil || n == 0 {
		*s = (*s)[1:]
	}
	return n, err
}

func draw(b byte) io.Reader {
	sum := sha256.Sum256([]byte{b})
	return bytes.NewReader(sum[:])
}

func randomFrom(entropy io.Reader) (*secrets, error) {
	return openSecrets(&randomSecrets{entropy: entropy, every: time.Hour}, slog.New(slog.DiscardHandler), nil)
}

func secretsOf(file string, log io.Writer) (*secrets, error) {
	l := slog.New(slog.NewTextHandler(log, nil))
	return openSecrets(&fileSecrets{file: file, log: l}, l, nil)
}

func TestGuardDoesNotStartWithoutEntropy(t *testing.T) {
	for name, src := range map[string]io.Reader{
		"failing": &script{}, "short": bytes.NewReader(make([]byte, 31)), "stuck": bytes.NewReader(make([]byte, 32)),
	} {
		if _, err := randomFrom(src); err == nil || !strings.Contains(err.Error(), "no guard") {
			t.Errorf("%s source: %v", name, err)
		}
	}
}

// A rotation that gets no good secret keeps the old one and counts.
func TestRotationKeepsTheOldSecretOnBadEntropy(t *testing.T) {
	for name, src := range map[string]struct {
		second io.Reader
		want   error
	}{
		"failing":   {iotestErr{}, cookie.ErrEntropy},
		"short":     {bytes.NewReader(make([]byte, 31)), cookie.ErrEntropy},
		"stuck":     {bytes.NewReader(make([]byte, 32)), cookie.ErrWeakSecret},
		"repeating": {draw('a'), cookie.ErrRepeatedSecret},
	} {
		s, err := randomFrom(io.MultiReader(draw('a'), src.second))
		if err != nil {
			t.Fatal(err)
		}
		before := s.store.Load()
		if err := s.rotate(); !errors.Is(err, src.want) {
			t.Errorf("%s: %v, want %v", name, err, src.want)
		}
		if s.store.Load() != before || s.status().Failures != 1 || s.status().Rotations != 0 {
			t.Errorf("%s: the old secret is not kept, or the failure not counted: %+v", name, s.status())
		}
	}
}

type iotestErr struct{}

func (iotestErr) Read([]byte) (int, error) { return 0, errors.New("broken") }

func TestRotate(t *testing.T) {
	s, err := randomFrom(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	// Past 256 the key ID comes round again.
	for i := 1; i < 300; i++ {
		was := s.store.Load().Current()
		if err := s.rotate(); err != nil {
			t.Fatal(err)
		}
		ring := s.store.Load()
		if ring.Previous() != was || ring.Current().KeyID() != uint8(i) {
			t.Fatalf("rotation %d: previous %v, key ID %d", i, ring.Previous() == was, ring.Current().KeyID())
		}
	}
}

func writeFile(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func secretText(i int) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(fmt.Sprint(i)))) }

func TestSecretFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secrets")
	one, two, three := secretText(1), secretText(2), secretText(3)
	writeFile(t, file, "# ours\n"+one+"\n")
	var log bytes.Buffer
	s, err := secretsOf(file, &log)
	if err != nil {
		t.Fatal(err)
	}
	named := func(text string) string { x, _ := cookie.ParseSecret(text); return x.Fingerprint() }
	expect := func(current, previous string) {
		t.Helper()
		st := s.status()
		if st.Fingerprint != named(current) || previous != "" && st.Previous != named(previous) || previous == "" && st.Previous != "" {
			t.Errorf("current %s previous %s, want %s %q", st.Fingerprint, st.Previous, named(current), previous)
		}
	}
	expect(one, "")
	writeFile(t, file, two+"\n")
	if err := s.follow(); err != nil {
		t.Fatal(err)
	}
	expect(two, one)
	const soon = "changed twice in short time"
	if strings.Contains(log.String(), soon) {
		t.Errorf("one change, and it is said to be two: %s", &log)
	}
	for _, bad := range []string{"", "12ab", strings.Repeat("00", 32), "zz" + one[2:], three + "x"} {
		writeFile(t, file, bad)
		if err := s.follow(); err == nil {
			t.Errorf("%q is accepted", bad)
		}
		expect(two, one)
	}
	if s.status().Failures != 5 {
		t.Errorf("%d failures counted, want 5", s.status().Failures)
	}
	writeFile(t, file, three+"\n"+one+"\n")
	if err := s.follow(); err != nil {
		t.Fatal(err)
	}
	expect(three, one)
	if !strings.Contains(log.String(), soon) || !strings.Contains(log.String(), "leave 10s") {
		t.Errorf("a second change at once, and nothing is said of it: %s", &log)
	}
	// A secret is staged, so that all honour it, before it is the one that issues cookies.
	for _, lines := range [][2]string{{three, two}, {two, three}} {
		writeFile(t, file, lines[0]+"\n"+lines[1]+"\n")
		if err := s.follow(); err != nil {
			t.Fatal(err)
		}
		expect(lines[0], lines[1])
	}
	rotations := s.status().Rotations
	if err := s.follow(); err != nil || s.status().Rotations != rotations {
		t.Errorf("the same file again: %v, %d rotations after %d", err, s.status().Rotations, rotations)
	}
	if err := s.rotate(); err == nil {
		t.Error("a guard with a secret file rotates by itself")
	}
}

// Two guards with one file accept each other's cookies.
func TestSecretFileIsShared(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secrets")
	writeFile(t, file, secretText(1)+"\n")
	a, err := secretsOf(file, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	b, err := secretsOf(file, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	in := &cookie.Binding{Random: new([32]byte)}
	got := a.store.Load().Current().Issue(in)
	if !b.store.Load().Verify(in, got[:]) {
		t.Error("the other guard refuses the cookie")
	}
}

// A FIFO in place of the secret file is refused at once, at the start and when it comes in the file's place: reading it would
// wait for a writer, with the lock held that rotations need.
func TestSecretFIFO(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secrets")
	if err := unix.Mkfifo(file, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := secretsOf(file, io.Discard); !errors.Is(err, regular.ErrNotRegular) {
		t.Errorf("at the start: %v", err)
	}
	fifo := file + ".fifo"
	if err := os.Rename(file, fifo); err != nil {
		t.Fatal(err)
	}
	writeFile(t, file, strings.Repeat("5a", 31)+"5b\n")
	s, err := secretsOf(file, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(fifo, file); err != nil {
		t.Fatal(err)
	}
	if err := s.follow(); !errors.Is(err, regular.ErrNotRegular) {
		t.Errorf("while it runs: %v", err)
	}
}
