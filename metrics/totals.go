package metrics

import (
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// Totals counts the requests to one upstream since the start: all that were
// answered, and those that waited for a token or got none.
type Totals struct {
	Requests, Waited, Failed uint64
}

// Totals reads the series of one upstream back. The name must come from the
// configuration.
func (m *Metrics) Totals(name string) Totals {
	var t Totals
	if requests, ok := m.requestSeconds.WithLabelValues(name).(prometheus.Metric); ok {
		t.Requests = read(requests).GetHistogram().GetSampleCount()
	}
	t.Waited = uint64(read(m.lookups.WithLabelValues(name, "waited")).GetCounter().GetValue())
	t.Failed = uint64(read(m.lookups.WithLabelValues(name, "failed")).GetCounter().GetValue())
	return t
}

func read(metric prometheus.Metric) *dto.Metric {
	var value dto.Metric
	_ = metric.Write(&value) // fails for histograms with broken exemplars only, and we have none
	return &value
}

// Version returns the version that build_info carries.
func (m *Metrics) Version() string { return m.version }
