package attack

import (
	"encoding/json"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
)

// watch gives a detector rates, one per second, of which a tenth is answered, and returns what it tells at which second.
func watch(d *Detector, rates ...float64) (told map[int]News, reports map[News]*Report) {
	told, reports = make(map[int]News), make(map[News]*Report)
	at := time.Unix(1e9, 0)
	c := Counts{Dropped: make(Reasons)}
	d.Look(at, Counts{})
	for i, rate := range rates {
		c.Answered += uint64(rate / 10)
		c.Dropped = Reasons{"junk": c.Dropped["junk"] + uint64(rate-rate/10)}
		at = at.Add(time.Second)
		if n, r := d.Look(at, c); n != Nothing {
			told[i], reports[n] = n, r
		}
	}
	return told, reports
}

func seconds(n int, rate float64) (list []float64) {
	for range n {
		list = append(list, rate)
	}
	return list
}

func join(lists ...[]float64) (all []float64) {
	for _, l := range lists {
		all = append(all, l...)
	}
	return all
}

// A process that continues another's detector tells the same news.
func TestContinue(t *testing.T) {
	rates := join(seconds(5, 100), seconds(70, 50_000), seconds(20, 100))
	want, reports := watch(NewDetector(0, 10*time.Second), rates...)
	d, at, c := NewDetector(0, 10*time.Second), time.Unix(1e9, 0), Counts{Dropped: make(Reasons)}
	d.Look(at, Counts{})
	for i, rate := range rates {
		handed, err := json.Marshal(d.State())
		if err != nil {
			t.Fatal(err)
		}
		var s State
		if err := json.Unmarshal(handed, &s); err != nil {
			t.Fatal(err)
		}
		d = s.Continue(10 * time.Second)
		c.Add(&Counts{Answered: uint64(rate / 10), Dropped: Reasons{"junk": uint64(rate - rate/10)}})
		at = at.Add(time.Second)
		news, r := d.Look(at, Counts{c.Answered, Reasons{"junk": c.Dropped["junk"]}})
		if news != want[i] || r != nil && (r.Total() != reports[news].Total() || r.For != reports[news].For || r.Peak != reports[news].Peak) {
			t.Errorf("second %d: %v, %+v, want %v, %+v", i, news, r, want[i], reports[news])
		}
	}
}

func TestAttack(t *testing.T) {
	told, reports := watch(NewDetector(0, 10*time.Second), join(seconds(5, 100), seconds(70, 50_000), seconds(5, 90_000), seconds(20, 100))...)
	if len(told) != 3 || told[7] != Started || told[67] != Continues || told[89] != Ended {
		t.Fatal(told)
	}
	if r := reports[Started]; r.Rate != 50_000 || r.Threshold < 1000 || r.Total() != 150_000 || r.Answered != 15_000 {
		t.Errorf("%+v", r)
	}
	if r := reports[Continues]; r.Rate != 50_000 || r.For != 63*time.Second {
		t.Errorf("%+v", r)
	}
	r := reports[Ended]
	if r.For != 75*time.Second || r.Peak != 90_000 || r.Total() != 70*50_000+5*90_000+10*100 || r.Dropped["junk"] != 9*r.Answered {
		t.Errorf("%+v", r)
	}
}

// Neither a second or two, nor a pause, nor what is usual for the service is news.
func TestNoNews(t *testing.T) {
	for name, rates := range map[string][]float64{
		"short":         join(seconds(5, 10), seconds(2, 90_000), seconds(5, 10), seconds(2, 90_000), seconds(5, 10)),
		"small":         seconds(100, 900),
		"grows by time": join(seconds(3000, 900), seconds(3000, 6000), seconds(100, 20_000)),
	} {
		if told, _ := watch(NewDetector(0, 10*time.Second), rates...); len(told) > 0 {
			t.Errorf("%s: %v", name, told)
		}
	}
	told, _ := watch(NewDetector(0, 10*time.Second), join(seconds(5, 50_000), seconds(8, 0), seconds(5, 50_000))...)
	if len(told) != 1 {
		t.Errorf("a pause ends the attack: %v", told)
	}
	told, _ = watch(NewDetector(100, 10*time.Second), seconds(5, 110)...)
	if told[2] != Started {
		t.Errorf("a rate that was asked for: %v", told)
	}
}

func TestKeys(t *testing.T) {
	for in, want := range map[string]string{"192.0.2.77": "192.0.2.0/24", "255.255.255.255": "255.255.255.0/24", "2001:db8:1:2::3": "2001:db8:1::/48", "::1": "::/48"} {
		ip := netip.MustParseAddr(in).As16()
		if got := KeyOf(&ip).Prefix(); got.String() != want {
			t.Errorf("%s: %v, want %s", in, got, want)
		}
	}
}

// Two prefixes have three tenths and one tenth, the rest is from everywhere.
func TestTop(t *testing.T) {
	s := NewSketch([2]uint64{0x9e3779b97f4a7c15, 0xd1b54a32d192ed03})
	r := rand.New(rand.NewPCG(3, 4))
	flood := func(n int, big, small string) {
		for range n {
			ip := netip.AddrFrom4([4]byte{byte(1 + r.IntN(200)), byte(r.Uint32()), byte(r.Uint32()), byte(r.Uint32())}).As16()
			switch x := r.IntN(10); {
			case x < 3:
				ip = netip.MustParseAddr(big).As16()
			case x == 3:
				ip = netip.MustParseAddr(small).As16()
			}
			if s.Due() {
				s.Take(&ip)
			}
		}
	}
	flood(200_000, "198.18.7.9", "2001:db8:5::1")
	top := Top(ofWorker(s))
	if len(top) < 2 || top[0].Prefix != netip.MustParsePrefix("198.18.7.0/24") || top[1].Prefix != netip.MustParsePrefix("2001:db8:5::/48") || len(top) > 2 {
		t.Fatal(top)
	}
	if s := top[0].Share; s < 0.25 || s > 0.35 {
		t.Errorf("share %.2f, want 0.3", s)
	}
	if n := top[0].Datagrams; n < 50_000 || n > 70_000 {
		t.Errorf("%d datagrams, want 60000", n)
	}
	if text, err := json.Marshal(Prefixes(nil)); string(text) != "[]" || err != nil {
		t.Error(string(text), err)
	}
	s.Forget()
	flood(100_000, "192.0.2.1", "192.0.3.1")
	if top := Top(ofWorker(s)); top[0].Prefix != netip.MustParsePrefix("192.0.2.0/24") || top[0].Share > 0.35 {
		t.Error(top)
	}
}

// ofWorker is all that a worker's sketch has.
func ofWorker(s *Sketch) []Part { return []Part{{s.Buckets(), SampleEvery}} }

// A sample counts for as many datagrams as it stands for.
func TestTopWeighsSketches(t *testing.T) {
	few, many := KeyOf(&[16]byte{10: 0xff, 11: 0xff, 12: 198, 13: 18}), KeyOf(&[16]byte{10: 0xff, 11: 0xff, 12: 192})
	top := Top([]Part{{[]Bucket{{uint64(few), 10, 10}}, 900}, {[]Bucket{{uint64(many), 1000, 1000}}, 1}, {nil, 5}})
	if len(top) != 2 || top[0] != (Prefix{few.Prefix(), 0.9, 9000}) || top[1] != (Prefix{many.Prefix(), 0.1, 1000}) {
		t.Error(top)
	}
}

func TestSampleDoesNotAllocate(t *testing.T) {
	s := NewSketch([2]uint64{0x9e3779b97f4a7c15, 0xd1b54a32d192ed03})
	ip := [16]byte{1}
	if n := testing.AllocsPerRun(10_000, func() {
		if s.Due() {
			s.Take(&ip)
		}
	}); n != 0 {
		t.Error(n)
	}
}

func BenchmarkSample(b *testing.B) {
	s := NewSketch([2]uint64{0x9e3779b97f4a7c15, 0xd1b54a32d192ed03})
	ip := [16]byte{1}
	for b.Loop() {
		ip[1]++
		if s.Due() {
			s.Take(&ip)
		}
	}
}
