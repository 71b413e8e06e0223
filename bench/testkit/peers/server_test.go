package peers

import (
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/dtlsguard/dtlsguard/bench/testkit/await"
	"github.com/dtlsguard/dtlsguard/frontend/hello"
)

// TestServersAnswer: each server asks for a cookie, and repeats the question's record sequence number if the list says
// so.
func TestServersAnswer(t *testing.T) {
	t.Parallel()
	id, err := NewIdentity(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range Servers {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			binary, err := s.Build(t.TempDir())
			if err != nil && os.Getenv("CI") != "true" {
				t.Skip(err)
			}
			if err != nil {
				t.Fatal(err)
			}
			checkAnswer(t, &s, binary, id)
		})
	}
}

// checkAnswer runs a server on a free port and asks it for a cookie.
func checkAnswer(t *testing.T, s *Server, program string, id Identity) {
	t.Helper()
	const seq = 7 // a number that no server starts with
	port := int(await.FreePort(t))
	cmd := exec.Command(program, Arguments(netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(port)), id, "")...)
	cmd.Stderr = t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	question := (&hello.Probe{RecordSeq: seq}).Append(nil)
	answer := ask(t, port, question)
	if s.Name == "echo" {
		if len(answer) == 0 {
			t.Fatal("nothing comes back")
		}
		return
	}
	if _, ok := hello.HelloVerifyCookie(answer); !ok {
		t.Fatalf("%x is not a HelloVerifyRequest", answer)
	}
	if got := binary.BigEndian.Uint32(answer[7:]); (got == seq) != s.Answers {
		t.Errorf("answers the question with record sequence number %d with number %d, but the list says %v", seq, got, s.Answers)
	}
}

// ask asks until there is an answer.
func ask(t *testing.T, port int, question []byte) []byte {
	t.Helper()
	conn, err := net.DialUDP("udp", nil, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	answer := make([]byte, 2048)
	for end := time.Now().Add(await.Patience); time.Now().Before(end); {
		_, _ = conn.Write(question) // refused until the server listens
		_ = conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		if n, err := conn.Read(answer); err == nil {
			return answer[:n]
		}
	}
	t.Fatal("no answer")
	return nil
}
