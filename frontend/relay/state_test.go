package relay

import (
	"encoding/binary"
	"testing"
)

// Each sign in each state of a flow about which nothing else is known.
func TestEveryTransition(t *testing.T) {
	signs := []Signs{ClientHello, ClientFlight, ClientProtected, ClientAlert, ServerFlight, ServerFinished, ServerData,
		ServerAlert, ServerFatal, Silence}
	table := map[State][]State{
		HalfOpen:    {HalfOpen, HalfOpen, HalfOpen, HalfOpen, HalfOpen, HalfOpen, HalfOpen, Closing, Over, HalfOpen},
		Established: {Established, Established, Established, Established, Established, Established, Established, Closing, Established, Idle},
		Idle:        {Established, Established, Established, Established, Established, Established, Established, Closing, Established, Idle},
		Closing:     {Closing, Closing, Closing, Closing, Closing, Established, Established, Closing, Closing, Closing},
	}
	for from, row := range table {
		for i, want := range row {
			if got, _ := step(from, 0, signs[i]); got != want {
				t.Errorf("%v, sign %#x: %v, want %v", from, signs[i], got, want)
			}
		}
	}
}

// From half-open, with all that can have been seen before, a flow is established by a server's sign or by a client's
// record after the server's Finished, never by a client alone.
func TestHalfOpenIsLeftByTheServersSigns(t *testing.T) {
	server := answered | finished | proved
	for p := progress(0); p < 2*proved; p++ {
		if s, _ := step(HalfOpen, p, 0); s != HalfOpen || p&answered == 0 && p != 0 {
			continue // could not have stayed half-open, or come about: all else follows the server's first answer
		}
		for _, sign := range []Signs{ClientHello, ClientFlight, ClientProtected, ClientAlert} {
			s, q := step(HalfOpen, p, sign)
			if want := sign == ClientProtected && p&finished != 0; (s == Established) != want {
				t.Errorf("progress %#x, client's sign %#x: %v", p, sign, s)
			}
			if q&server != p&server {
				t.Errorf("progress %#x, client's sign %#x: %#x claims something of the server", p, sign, q)
			}
		}
		for _, c := range []struct {
			sign Signs
			want bool
		}{
			{ServerFlight, false},
			{ServerFinished, p&secondFlight != 0 && p&finished == 0 || p&clientProtected != 0},
			{ServerData, p&clientProtected != 0},
		} {
			if s, _ := step(HalfOpen, p, c.sign); (s == Established) != c.want {
				t.Errorf("progress %#x, server's sign %#x: %v, want established: %v", p, c.sign, s, c.want)
			}
		}
	}
}

func plain(contentType byte, epoch uint16, body ...byte) []byte {
	d := make([]byte, recordHeader, recordHeader+len(body))
	d[0], d[1], d[2] = contentType, 0xfe, 0xfd
	binary.BigEndian.PutUint16(d[3:], epoch)
	binary.BigEndian.PutUint16(d[11:], uint16(len(body)))
	return append(d, body...)
}

func join(records ...[]byte) (d []byte) {
	for _, r := range records {
		d = append(d, r...)
	}
	return d
}

var (
	hello2      = plain(typeHandshake, 0, msgClientHello, 0)
	keyExchange = plain(typeHandshake, 0, 16, 0)
	flight      = plain(typeHandshake, 0, 2, 0)
	change      = plain(typeChangeCipherSpec, 0, 1)
	sealed      = plain(typeHandshake, 1, 0xaa, 0xbb)
	data        = plain(typeData, 1, 0xcc)
	alert       = plain(typeAlert, 1, 0xdd)
	fatal       = plain(typeAlert, 0, alertFatal, 40)
	warning     = plain(typeAlert, 0, 1, 0)
	ack         = plain(26, 0, 0, 0) // RFC 9147 section 7
)

func cid(b byte) []byte { return []byte{typeCID, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 1, b, b, 0, 1, 0} }

func unified(first byte) []byte { return []byte{first, 0, 1, 0, 2, 0xee, 0xff} }

func TestSigns(t *testing.T) {
	for name, c := range map[string]struct {
		d              []byte
		client, server Signs
	}{
		"empty":                     {nil, 0, 0},
		"no record":                 {[]byte{22, 0xfe}, 0, 0},
		"ClientHello":               {hello2, ClientHello, ServerFlight},
		"flight":                    {keyExchange, ClientFlight, ServerFlight},
		"ChangeCipherSpec":          {change, ClientFlight, ServerFlight},
		"flight up to Finished":     {join(keyExchange, change, sealed), ClientFlight | ClientProtected, ServerFlight | ServerFinished},
		"Finished":                  {sealed, ClientProtected, ServerFinished},
		"data":                      {data, ClientProtected, ServerFinished | ServerData | ClientReached},
		"encrypted alert":           {alert, ClientAlert, ServerAlert},
		"fatal alert":               {fatal, ClientAlert, ServerFatal},
		"warning":                   {warning, ClientAlert, 0},
		"data and alert":            {join(data, alert), ClientProtected | ClientAlert, ServerFinished | ServerData | ClientReached | ServerAlert},
		"ACK of epoch 0":            {ack, 0, 0},
		"connection ID":             {cid(1), ClientProtected, ServerFinished | ServerData},
		"ServerHello and encrypted": {join(flight, unified(0x2e)), ClientFlight | ClientProtected, ServerFlight},
		"record cut short":          {flight[:13], ClientFlight, ServerFlight},
	} {
		if got := clientSigns(c.d); got != c.client {
			t.Errorf("%s of a client: %#x, want %#x", name, got, c.client)
		}
		if got := serverSigns(c.d); got != c.server {
			t.Errorf("%s of a server: %#x, want %#x", name, got, c.server)
		}
	}
	for first := unifiedFirst; first <= unifiedLast; first++ {
		client, server := ClientProtected, ServerData|ClientReached
		switch first & unifiedEpoch {
		case earlyEpoch:
			client = 0
		case handshakeEpoch:
			server = ServerFlight
		}
		d := unified(byte(first))
		if c, s := clientSigns(d), serverSigns(d); c != client || s != server {
			t.Errorf("unified header %#x: client %#x, want %#x; server %#x, want %#x", first, c, client, s, server)
		}
	}
}

// side is the sender of a datagram of a handshake.
type side bool

const (
	client side = false
	server side = true
)

// Handshakes as stacks send them, and as attackers fake them: the state, and whether the flow may take an
// older one's place, after each datagram.
func TestHandshakes(t *testing.T) {
	type act struct {
		from   side
		d      []byte
		state  State
		proved bool
	}
	for name, script := range map[string][]act{
		"full": {{server, flight, HalfOpen, false}, {client, join(keyExchange, change, sealed), HalfOpen, false},
			{server, join(change, sealed), Established, true}},
		"full, a record a datagram": {{server, flight, HalfOpen, false}, {client, keyExchange, HalfOpen, false}, {client, change, HalfOpen, false},
			{client, sealed, HalfOpen, false}, {server, change, HalfOpen, false}, {server, sealed, Established, true}},
		"full with connection IDs": {{server, flight, HalfOpen, false}, {client, join(keyExchange, change, cid(1)), HalfOpen, false},
			{server, join(change, cid(2)), Established, true}},
		"abbreviated": {{server, join(flight, change, sealed), HalfOpen, false}, {client, join(change, sealed), Established, false},
			{server, data, Established, true}},
		"abbreviated, the client only sends": {{server, join(flight, change, sealed), HalfOpen, false}, {client, join(change, sealed), Established, false},
			{client, data, Established, false}, {client, data, Established, false}},
		"1.3": {{server, join(flight, unified(0x2e)), HalfOpen, false}, {client, unified(0x2e), HalfOpen, false},
			{server, unified(0x2f), Established, true}},
		"1.3 with connection IDs and an ACK": {{server, join(flight, unified(0x3e)), HalfOpen, false}, {client, ack, HalfOpen, false},
			{client, unified(0x3e), HalfOpen, false}, {server, unified(0x3f), Established, true}},
		"1.3, server's flight again": {{server, join(flight, unified(0x2e)), HalfOpen, false}, {client, unified(0x2e), HalfOpen, false},
			{server, unified(0x2e), HalfOpen, false}, {server, unified(0x2f), Established, true}},
		"1.3, server sends before the client's flight": {{server, join(flight, unified(0x2e)), HalfOpen, false}, {server, unified(0x2f), HalfOpen, false},
			{client, unified(0x2e), HalfOpen, false}, {server, unified(0x2f), Established, true}},
		"refused":             {{server, fatal, Over, false}},
		"refused later":       {{server, flight, HalfOpen, false}, {client, keyExchange, HalfOpen, false}, {server, fatal, Over, false}},
		"warned":              {{server, warning, HalfOpen, false}, {server, flight, HalfOpen, false}},
		"client gives up":     {{server, flight, HalfOpen, false}, {client, fatal, HalfOpen, false}},
		"all of it forged":    {{client, keyExchange, HalfOpen, false}, {client, join(change, sealed), HalfOpen, false}, {client, data, HalfOpen, false}, {client, alert, HalfOpen, false}},
		"forged after flight": {{server, flight, HalfOpen, false}, {client, join(keyExchange, change, sealed, data), HalfOpen, false}, {server, flight, HalfOpen, false}},
		"forged 1.3":          {{server, join(flight, unified(0x2e)), HalfOpen, false}, {client, unified(0x2f), HalfOpen, false}, {server, unified(0x2e), HalfOpen, false}},
		"server closes":       {{server, flight, HalfOpen, false}, {client, sealed, HalfOpen, false}, {server, sealed, Established, true}, {server, alert, Closing, true}, {client, data, Closing, true}, {client, alert, Closing, true}},
		"server warns":        {{server, flight, HalfOpen, false}, {client, sealed, HalfOpen, false}, {server, sealed, Established, true}, {server, alert, Closing, true}, {server, data, Established, true}},
		"forged alerts":       {{server, flight, HalfOpen, false}, {client, sealed, HalfOpen, false}, {server, sealed, Established, true}, {client, alert, Established, true}, {client, alert, Established, true}},
		"alert of epoch 0":    {{server, flight, HalfOpen, false}, {client, sealed, HalfOpen, false}, {server, sealed, Established, true}, {server, fatal, Established, true}},
	} {
		s, p := HalfOpen, progress(0)
		for i, a := range script {
			signs := clientSigns(a.d)
			if a.from == server {
				signs = serverSigns(a.d)
			}
			if s, p = step(s, p, signs); s != a.state || (p&proved != 0) != a.proved {
				t.Errorf("%s, datagram %d: %v, proved %v; want %v, %v", name, i, s, p&proved != 0, a.state, a.proved)
			}
		}
	}
}

// TestReached: a server's data proves the address of a client that has sent protected records after the server's flight, but not if the
// server sends data without waiting for those. Otherwise who forges an address need only forge a record, too.
func TestReached(t *testing.T) {
	type act struct {
		from side
		d    []byte
	}
	hello13, sealed13, data13 := join(flight, unified(0x2e)), unified(0x2e), unified(0x2f)
	for name, c := range map[string]struct {
		script []act
		want   bool
	}{
		"1.2":                        {[]act{{server, flight}, {client, join(keyExchange, change, sealed)}, {server, join(change, sealed)}, {server, data}}, true},
		"1.2, no data":               {[]act{{server, flight}, {client, join(keyExchange, change, sealed)}, {server, join(change, sealed)}}, false},
		"1.3":                        {[]act{{server, hello13}, {client, sealed13}, {server, data13}}, true},
		"1.3, the client is silent":  {[]act{{server, hello13}, {server, data13}, {server, data13}}, false},
		"1.3, forged before":         {[]act{{client, sealed13}, {server, hello13}, {server, data13}}, false},
		"1.3, forged after":          {[]act{{server, hello13}, {client, sealed13}, {server, hello13}}, false},
		"1.3, forged after data":     {[]act{{server, hello13}, {server, data13}, {client, sealed13}, {server, data13}}, false},
		"1.3, early data is no sign": {[]act{{server, hello13}, {client, unified(0x2d)}, {server, data13}}, false},
	} {
		s, p := HalfOpen, unproved
		for _, a := range c.script {
			signs := clientSigns(a.d)
			if a.from == server {
				signs = serverSigns(a.d)
			}
			s, p = step(s, p, signs)
		}
		if got := p&unproved == 0; got != c.want {
			t.Errorf("%s: reached %v, want %v; it is %v", name, got, c.want, s)
		}
	}
}

// FuzzSigns looks for datagrams that stop the guard.
func FuzzSigns(f *testing.F) {
	f.Add([]byte{22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 0x2f, 0})
	f.Add([]byte{25, 254, 253, 0, 1})
	f.Fuzz(func(t *testing.T, d []byte) {
		_, _ = clientSigns(d), serverSigns(d)
	})
}
