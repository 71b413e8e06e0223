package result

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

// Markers of the lines of a Markdown file that UpdateReadme writes anew.
const (
	markBegin = "<!-- figures: written by dtlsbench report; do not edit -->"
	markEnd   = "<!-- end of figures -->"
)

// UpdateReadme puts r's text between the markers of a Markdown file, and changes nothing else of it. source is the
// file that r is in, as a link from there.
func (r *Report) UpdateReadme(path, source string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("write figures: %w", err)
	}
	before, rest, begins := strings.Cut(string(text), markBegin+"\n")
	_, after, ends := strings.Cut(rest, markEnd+"\n")
	if !begins || !ends {
		return fmt.Errorf("write figures to %s: %w", path, errors.New("it lacks the lines between which they go:\n"+markBegin+"\n"+markEnd))
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s%s\nFrom [%s](%s):\n\n```\n", before, markBegin, source, source)
	r.Print(&b)
	fmt.Fprintf(&b, "```\n%s\n%s", markEnd, after)
	if err := os.WriteFile(path, []byte(b.String()), 0o666); err != nil {
		return fmt.Errorf("write figures: %w", err)
	}
	return nil
}
