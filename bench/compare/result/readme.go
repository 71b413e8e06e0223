package result

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// block is a part of a Markdown file, between two marker lines, that UpdateReadme rewrites.
type block struct {
	name  string
	write func(r *Report, w io.Writer)
}

var blocks = []block{
	{"figures", func(r *Report, w io.Writer) {
		fmt.Fprint(w, "```\n")
		r.Print(w)
		fmt.Fprint(w, "```\n")
	}},
	{"summary", (*Report).summary},
}

func (b *block) begin() string {
	return "<!-- " + b.name + ": written by dtlsbench report; do not edit -->\n"
}
func (b *block) end() string { return "<!-- end of " + b.name + " -->\n" }

// UpdateReadme writes r's figures between the markers of a Markdown file and changes nothing else. source is the
// link from there to the file of r.
func (r *Report) UpdateReadme(path, source string) error {
	old, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("write figures: %w", err)
	}
	text, found := string(old), false
	for i := range blocks {
		b := &blocks[i]
		before, rest, begins := strings.Cut(text, b.begin())
		_, after, ends := strings.Cut(rest, b.end())
		if !begins || !ends {
			continue
		}
		found = true
		var w strings.Builder
		fmt.Fprintf(&w, "%s%sFrom [%s](%s):\n\n", before, b.begin(), source, source)
		b.write(r, &w)
		text = w.String() + b.end() + after
	}
	if !found {
		return fmt.Errorf("write figures to %s: %w", path, errors.New("it lacks the marker lines:\n"+blocks[0].begin()+blocks[0].end()))
	}
	if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
		return fmt.Errorf("write figures: %w", err)
	}
	return nil
}
