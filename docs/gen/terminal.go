package main

import (
	"encoding/xml"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Of a character of the terminal's picture, in pixels: 14 px monospace is 8.43 wide at most in common fonts.
const (
	cellWidth, cellHeight = 8.4, 18
	screenMargin          = 12
)

// terminal draws the text of a terminal's screen as SVG.
func terminal(screen string) string {
	lines := strings.Split(strings.TrimRight(screen, "\n "), "\n")
	columns := 0
	for i, l := range lines {
		lines[i] = strings.TrimRight(l, " ")
		columns = max(columns, utf8.RuneCountInString(lines[i]))
	}
	width, height := float64(columns)*cellWidth+2*screenMargin, len(lines)*cellHeight+2*screenMargin
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %.0f %d" font-family="ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace" font-size="14">`+"\n", width, height)
	fmt.Fprintf(&b, `<rect width="100%%" height="100%%" rx="6" fill="#1b1f24"/>`+"\n"+`<g fill="#d8dee4">`+"\n")
	for i, l := range lines {
		if l == "" {
			continue
		}
		fmt.Fprintf(&b, `<text xml:space="preserve" x="%d" y="%d" textLength="%.1f">`, screenMargin, screenMargin+(i+1)*cellHeight-5, float64(utf8.RuneCountInString(l))*cellWidth)
		_ = xml.EscapeText(&b, []byte(l)) // into memory
		b.WriteString("</text>\n")
	}
	b.WriteString("</g>\n</svg>\n")
	return b.String()
}
