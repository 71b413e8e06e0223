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

// Report is the result of a run of benchmarks.
type Report struct {
	Time     time.Time  `json:"time"`
	Machine  string     `json:"machine"`
	CPUs     int        `json:"cpus"`
	Clock    float64    `json:"clock,omitempty"` // GHz, from /proc/cpuinfo; 0: unknown
	Kernel   string     `json:"kernel"`
	Commit   string     `json:"commit"`
	Load     string     `json:"load"` // averages over 1, 5 and 15 minutes before the first run
	Window   string     `json:"window"`
	Rounds   int        `json:"rounds"`
	Outcomes []*Outcome `json:"outcomes"`

	// ProjectTo is the clock in GHz of the projection; 0: that of the machine.
	ProjectTo float64 `json:"-"`
}

// name is the name of r's file without its extension: the day and the machine.
func (r *Report) name() string {
	machine := strings.ToLower(strings.NewReplacer("(R)", "", "(TM)", "", "Processor", "").Replace(r.Machine))
	words := strings.FieldsFunc(machine, func(c rune) bool { return (c < 'a' || c > 'z') && (c < '0' || c > '9') })
	return fmt.Sprintf("%s-%s-%dcpu", r.Time.Format(time.DateOnly), strings.Join(words, "-"), r.CPUs)
}

// Save writes r as JSON into a new file in dir and returns its path.
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
		return nil, fmt.Errorf("read results: %s is not a file of dtlsbench: %w", path, err)
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

// Outcome is the outcome of one scenario. Which of its lists are filled depends on what it measures.
type Outcome struct {
	Name   string  `json:"name"`
	Title  string  `json:"title"`
	Failed string  `json:"failed,omitempty"` // why it has no figures
	Rows   []Row   `json:"rows"`
	Ratios []Ratio `json:"ratios,omitempty"`

	Handshakes []Handshakes `json:"handshakes,omitempty"`
	Streams    []Stream     `json:"streams,omitempty"`
	Memory     []Memory     `json:"memory,omitempty"`
	Costs      []Cost       `json:"costs,omitempty"`
}

// Find returns the row of a subject, nil if there is none.
func (o *Outcome) Find(subject string) *Row {
	for i := range o.Rows {
		if o.Rows[i].Subject == subject {
			return &o.Rows[i]
		}
	}
	return nil
}
