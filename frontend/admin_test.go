package frontend

import (
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// One request for metrics more than are answered at a time is refused, and the next one is answered once there is room.
func TestScrapesAtOnceAreBounded(t *testing.T) {
	began, end := make(chan struct{}), make(chan struct{})
	finish := sync.OnceFunc(func() { close(end) })
	registry := prometheus.NewRegistry()
	registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "slow"}, func() float64 {
		began <- struct{}{}
		<-end
		return 0
	}))
	h := metricsOf(registry)
	codes := make(chan int)
	ask := func() int {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
		return w.Code
	}
	for range scrapesAtOnce {
		go func() { codes <- ask() }()
		<-began
	}
	go func() {
		select {
		case <-began: // it is not refused, and must end
			finish()
		case <-end:
		}
	}()
	if code := ask(); code != http.StatusServiceUnavailable {
		t.Errorf("one too many: status %d", code)
	}
	finish()
	for range scrapesAtOnce {
		if code := <-codes; code != http.StatusOK {
			t.Errorf("status %d", code)
		}
	}
}
