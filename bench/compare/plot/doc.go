// Package plot draws figures as SVG that needs nothing from elsewhere: [Chart] has lines over two axes, [Bars]
// has a bar for each name. Everything that is text may hold any characters.
package plot
