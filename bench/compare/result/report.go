package result

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Report is what a run of benchmarks leaves.
type Report struct {
	Time     time.Time  `json:"time"`
	Machine  string     `json:"machine"`
	CPUs     int        `json:"cpus"`
	Clock    float64    `json:"clock,omitempty"` // GHz, as /proc/cpuinfo has it; 0: unknown
	Kernel   string     `json:"kernel"`
	Commit   string     `json:"commit"`
	Load     string     `json:"load"` // averages over 1, 5 and 15 minutes before the first run
	Window   string     `json:"window"`
	Rounds   int        `json:"rounds"`
	Outcomes []*Outcome `json:"outcomes"`

	// ProjectTo is the clock in GHz that is projected to; 0: that of the machine.
	ProjectTo float64 `json:"-"`
}

// name is that of r's file without its end: the day and the machine.
func (r *Report) name() string {
	machine := strings.ToLower(strings.NewReplacer("(R)", "", "(TM)", "", "Processor", "").Replace(r.Machine))
	words := strings.FieldsFunc(machine, func(c rune) bool { return (c < 'a' || c > 'z') && (c < '0' || c > '9') })
	return fmt.Sprintf("%s-%s-%dcpu", r.Time.Format(time.DateOnly), strings.Join(words, "-"), r.CPUs)
}

// Save writes r as JSON into dir and returns the file, which is none that was there.
func (r *Report) Save(dir string) (string, error) {
	text, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return "", fmt.Errorf("save results: %w", err)
	}
	path := filepath.Join(dir, r.name()+".json")
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	for n := 2; errors.Is(err, fs.ErrExist); n++ {
		path = filepath.Join(dir, fmt.Sprintf("%s-%d.json", r.name(), n))
		f, err = os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	}
	if err != nil {
		return "", fmt.Errorf("save results: %w", err)
	}
	_, err = f.Write(append(text, '\n'))
	if err := errors.Join(err, f.Close()); err != nil {
		return "", fmt.Errorf("save results: %w", err)
	}
	return path, nil
}

// Load reads a file that Save wrote.
func Load(path string) (*Report, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read results: %w", err)
	}
	r := new(Report)
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("read results: %s is none of dtlsbench's files: %w", path, err)
	}
	if len(r.Outcomes) == 0 {
		return nil, fmt.Errorf("read results: %s: %w", path, errors.New("it has no outcomes"))
	}
	return r, nil
}

// Find returns the outcome of that name, nil if there is none.
func (r *Report) Find(name string) *Outcome {
	for _, o := range r.Outcomes {
		if o.Name == name {
			return o
		}
	}
	return nil
}

// Outcome is that of one scenario. Which of its lists are filled depends on what is measured.
type Outcome struct {
	Name   string  `json:"name"`
	Title  string  `json:"title"`
	Failed string  `json:"failed,omitempty"` // why there is nothing of it
	Rows   []Row   `json:"rows"`
	Ratios []Ratio `json:"ratios,omitempty"`

	Handshakes []Handshakes `json:"handshakes,omitempty"`
	Streams    []Stream     `json:"streams,omitempty"`
	Memory     []Memory     `json:"memory,omitempty"`
	Costs      []Cost       `json:"costs,omitempty"`
}

// Find returns the row of that subject, nil if there is none.
func (o *Outcome) Find(subject string) *Row {
	for i := range o.Rows {
		if o.Rows[i].Subject == subject {
			return &o.Rows[i]
		}
	}
	return nil
}
