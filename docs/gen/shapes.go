package main

import (
	"fmt"
	"strings"
)

// theme is a set of colours.
type theme struct {
	name                            string
	ink, dim, box, guard, fill, bad string
}

var (
	light = theme{"light", "#1f2328", "#59636e", "#d1d9e0", "#0969da", "#ddf4ff", "#d1242f"}
	dark  = theme{"dark", "#f0f6fc", "#9198a1", "#3d444d", "#4493f8", "#121d2f", "#f85149"}
)

// picture is an SVG being drawn.
type picture struct {
	strings.Builder
	theme
}

func (p *picture) text(x, y int, class, anchor, s string) {
	fmt.Fprintf(p, "<text x=\"%d\" y=\"%d\" class=\"%s\" text-anchor=\"%s\">%s</text>\n", x, y, class, anchor, s)
}

// box draws a labelled box; guard marks those that are dtlsguard's.
func (p *picture) box(x, y, w int, guard bool, title, sub string) {
	class := "box"
	if guard {
		class = "guard"
	}
	fmt.Fprintf(p, "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" rx=\"6\" class=\"%s\"/>\n", x, y, w, boxH, class)
	ty := y + boxH/2 + 5
	if sub != "" {
		ty = y + boxH/2 - 3
		p.text(x+w/2, ty+17, "dim", "middle", sub)
	}
	p.text(x+w/2, ty, "ink", "middle", title)
}

// arrow draws a labelled arrow that points both ways.
func (p *picture) arrow(x1, x2, y int, class, label string) {
	fmt.Fprintf(p, "<line x1=\"%d\" y1=\"%d\" x2=\"%d\" y2=\"%d\" class=\"line-%[5]s\" marker-start=\"url(#%[5]s)\" marker-end=\"url(#%[5]s)\"/>\n", x1, y, x2, y, class)
	if label != "" {
		p.text((x1+x2)/2, y-6, "dim", "middle", label)
	}
}

// Columns of the picture: clients, the network card, the guard, the server.
const (
	width, row = 840, 118
	clientsX   = 20
	cardX      = 276
	cardW      = 120
	guardX     = 440
	serverX    = 690
	boxH       = 54
)

// shapes draws the three ways to deploy the guard, one below the other.
func shapes(t theme) string {
	p := &picture{theme: t}
	fmt.Fprintf(p, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" role=\"img\" font-family=\"system-ui, sans-serif\" font-size=\"14\">\n", width, 3*row+26)
	p.WriteString("<title>Three shapes: proxy with sockets, proxy with XDP, inline with XDP</title>\n<style>\n")
	fmt.Fprintf(p, ".ink{fill:%s}.dim{fill:%s;font-size:12px}.head{fill:%s;font-weight:600}\n", t.ink, t.dim, t.ink)
	fmt.Fprintf(p, ".box{fill:none;stroke:%s;stroke-width:1.5}.guard{fill:%s;stroke:%s;stroke-width:1.5}\n", t.box, t.fill, t.guard)
	fmt.Fprintf(p, ".line-ok{stroke:%s;stroke-width:1.8}.line-flood{stroke:%s;stroke-width:1.8;stroke-dasharray:5 4}\n</style>\n<defs>\n", t.guard, t.bad)
	for _, m := range [][2]string{{"ok", t.guard}, {"flood", t.bad}} {
		fmt.Fprintf(p, "<marker id=\"%s\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" orient=\"auto-start-reverse\"><path d=\"M0 0L8 4L0 8z\" fill=\"%s\"/></marker>\n", m[0], m[1])
	}
	p.WriteString("</defs>\n")
	p.shape(0, "1  proxy, sockets: no privileges, any Linux", false, true)
	p.shape(1, "2  proxy with XDP: most of the flood is answered at the network card", true, true)
	p.shape(2, "3  inline with XDP: the server keeps its port and sees the clients' addresses", true, false)
	p.WriteString("</svg>\n")
	return p.String()
}

// shape draws one row: clients and a flood, then the parts of the guard, then the server.
func (p *picture) shape(n int, head string, xdp, proxy bool) {
	y := n*row + 36
	p.text(clientsX, y-12, "head", "start", head)
	p.box(clientsX, y, 110, false, "clients", "and a flood")
	from := clientsX + 110
	floodTo := guardX
	if xdp {
		p.box(cardX, y, cardW, true, "XDP", "answers, verifies")
		floodTo = cardX
	}
	p.arrow(from, floodTo, y+18, "flood", "no cookie: answered")
	if proxy {
		p.box(guardX, y, 150, true, "dtlsguard", "workers")
		p.arrow(guardX+150, serverX, y+36, "ok", "verified")
	}
	p.box(serverX, y, 130, false, "DTLS server", "unmodified")
	switch {
	case xdp && proxy:
		p.arrow(from, cardX, y+38, "ok", "")
		p.arrow(cardX+cardW, guardX, y+36, "ok", "")
	case xdp:
		p.arrow(from, cardX, y+38, "ok", "")
		p.arrow(cardX+cardW, serverX, y+36, "ok", "verified clients, untouched")
	default:
		p.arrow(from, guardX, y+38, "ok", "")
	}
}
