package handoff

import "github.com/dtlsguard/dtlsguard/cookie"

// v1 is the guard's own format, for servers that compute it over the address that they see.
type v1 struct {
	batch *cookie.Batch
	port  uint16 // of the server
}

func newV1(p *cookie.Plan, port uint16, size int) formula { return &v1{p.NewBatch(size), port} }

func (f *v1) compute(k *cookie.Key, questions []question) {
	f.batch.Reset(len(questions))
	for i := range questions {
		q := &questions[i]
		f.batch.Add(&cookie.Binding{
			Source: q.seen.IP, SourcePort: q.seen.Port, DestinationPort: f.port, Version: q.Version, Random: q.Random,
		})
	}
	f.batch.Sum(k)
	for i := range questions {
		f.batch.Cookie(i, (*[cookie.Size]byte)(questions[i].cookie[:]))
		questions[i].length = cookie.Size
	}
}
