// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"
)

// A sample is what one row of the table cost in one round.
type sample struct {
	tally
	worker, plugin usage
	scans          int64
}

// per divides by the exchanges of the round.
func (s sample) per(n float64) float64 { return n / float64(s.answers) }

// The figures of a sample. CPU is in microseconds per exchange, time in
// milliseconds; all others but rate are counts per exchange.
func workerCPU(s sample) float64 { return s.per(micros(s.worker.cpu)) }
func pluginCPU(s sample) float64 { return s.per(micros(s.plugin.cpu)) }
func allCPU(s sample) float64    { return workerCPU(s) + pluginCPU(s) }
func rate(s sample) float64      { return float64(s.answers) / s.took.Seconds() }
func p50(s sample) float64       { return micros(s.p50) / 1000 }
func p99(s sample) float64       { return micros(s.p99) / 1000 }
func scans(s sample) float64     { return s.per(float64(s.scans)) }
func calls(s sample) float64     { return s.per(float64(s.plugin.calls)) }

func voluntary(who func(sample) usage) func(sample) float64 {
	return func(s sample) float64 { return s.per(float64(who(s).voluntary)) }
}

func forced(who func(sample) usage) func(sample) float64 {
	return func(s sample) float64 { return s.per(float64(who(s).forced)) }
}

func ofWorker(s sample) usage { return s.worker }
func ofPlugin(s sample) usage { return s.plugin }

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// A result is a row of a table: its samples, one a round, or what makes them
// worthless.
type result struct {
	row     string
	samples []sample
	invalid string
}

// A spread is the mean of some figures, and how far they lie apart. It is not the
// median: what differs from start to start has two values, and what a machine
// spends in the long run is their mean.
type spread struct{ mean, low, high float64 }

func spreadOf(figures []float64) spread {
	if len(figures) == 0 {
		return spread{}
	}
	var sum float64
	for _, f := range figures {
		sum += f
	}
	return spread{sum / float64(len(figures)), slices.Min(figures), slices.Max(figures)}
}

// of takes a figure of every round.
func of(r result, figure func(sample) float64) spread {
	var figures []float64
	for _, s := range r.samples {
		figures = append(figures, figure(s))
	}
	return spreadOf(figures)
}

// ratio is that of two rows' means, and the lowest and the highest of the rounds'
// own ratios. It is false where there is nothing to compare.
func ratio(r, base result, figure func(sample) float64) (spread, bool) {
	if base.invalid != "" || len(base.samples) != len(r.samples) {
		return spread{}, false
	}
	var ratios []float64
	for i, s := range r.samples {
		if b := figure(base.samples[i]); b > 0 {
			ratios = append(ratios, figure(s)/b)
		}
	}
	whole := of(base, figure).mean
	if whole <= 0 {
		return spread{}, false
	}
	s := spreadOf(ratios)
	s.mean = of(r, figure).mean / whole
	return s, true
}

// writeTable writes one load's rows. The ratios are to the row without a plugin
// and to the one named.
func writeTable(out io.Writer, title string, rows []result, reference string) error {
	find := func(name string) result {
		for _, r := range rows {
			if r.row == name {
				return r
			}
		}
		return result{invalid: "not measured"}
	}
	none, other := find(plain), find(reference)
	fmt.Fprintf(out, "\n%s\n", title)
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprint(t, "row\tworker us\tplugin us\tall us\tworker/none\tall/none\tworker/ref\tall/ref\tp99/ref\tworker switches\tplugin switches\tplugin r+w\tscans\treq/s\tp50 ms\tp99 ms\n")
	for _, r := range rows {
		if r.invalid != "" {
			fmt.Fprintf(t, "%s\tinvalid: %s\n", r.row, r.invalid)
			continue
		}
		whole := func(f func(sample) float64) string {
			s := of(r, f)
			return fmt.Sprintf("%.0f (%.0f-%.0f)", s.mean, s.low, s.high)
		}
		times := func(base result, f func(sample) float64) string {
			if s, ok := ratio(r, base, f); ok {
				return fmt.Sprintf("%.2f (%.2f-%.2f)", s.mean, s.low, s.high)
			}
			return "-"
		}
		switches := func(who func(sample) usage) string {
			return fmt.Sprintf("%.1f+%.1f", of(r, voluntary(who)).mean, of(r, forced(who)).mean)
		}
		late := of(r, p99)
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%.1f\t%.2f\t%.0f\t%.1f\t%.1f (%.1f-%.1f)\n", r.row,
			whole(workerCPU), whole(pluginCPU), whole(allCPU), times(none, workerCPU), times(none, allCPU),
			times(other, workerCPU), times(other, allCPU), times(other, p99), switches(ofWorker), switches(ofPlugin),
			of(r, calls).mean, of(r, scans).mean, of(r, rate).mean, of(r, p50).mean, late.mean, late.low, late.high)
	}
	return t.Flush()
}
