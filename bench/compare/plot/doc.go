// Package plot draws figures as SVG with gonum/plot: [Chart] has lines over two axes and a legend beside them, [Bars] has a
// bar per name. A subject has one colour on all drawings.
package plot
