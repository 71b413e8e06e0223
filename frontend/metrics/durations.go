package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Durations are how long handshakes took, from the ClientHello with a valid cookie to the server's acceptance, by service: a
// native histogram, with buckets for scrapers that know none.
type Durations struct{ *prometheus.HistogramVec }

var durationFamily = Family{
	Name: "dtlsguard_handshake_duration_seconds", Kind: Histogram, Labels: []string{"service"},
	Help: "Time from a valid cookie to the server's acceptance of the client; inline within an eighth.",
}

// NewDurations makes them.
func NewDurations() Durations {
	return Durations{prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: durationFamily.Name, Help: durationFamily.Help,
		Buckets: prometheus.ExponentialBuckets(0.002, 4, 7), // to 8 s
		// Buckets a tenth wide, and at most 160 of them, as OpenTelemetry's have; after an hour they may be made anew.
		NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 160, NativeHistogramMinResetDuration: time.Hour,
	}, durationFamily.Labels)}
}
