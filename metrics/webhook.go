package metrics

import "github.com/prometheus/client_golang/prometheus"

// A hintResult is what became of a hint, as package notify names it.
type hintResult string

var hintResults = []hintResult{"sent", "failed", "given_up", "over", "full"}

// webhooks are the metrics of the webhook.
type webhooks struct {
	hints   family[hintResult]
	failing prometheus.Gauge
}

func (m *Metrics) describeWebhooks() {
	m.webhooks.hints = newFamily(m.counters("webhook_hints_total",
		"Hints for the webhook by what became of them; failed: an attempt, after which there is another; given_up: after the last one; over: the device came by itself; full: as many waited as are kept.", "result"), hintResults)
	m.webhooks.failing = m.gauge("webhook_failing", "Whether the last attempt of the webhook failed, or its receiver wants no more (1), or not (0).")
}

// ObserveWebhookHints counts what became of hints.
func (m *Metrics) ObserveWebhookHints(result string, n int) {
	m.webhooks.hints.of(hintResult(result)).Add(float64(n))
}

// ObserveWebhookFailing notes whether messages reach the receiver.
func (m *Metrics) ObserveWebhookFailing(failing bool) { m.webhooks.failing.Set(truth(failing)) }
