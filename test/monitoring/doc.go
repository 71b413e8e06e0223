// Package monitoring has tests of what operators watch a guard by: metrics, alerts and dashboard, with a real Prometheus.
package monitoring
