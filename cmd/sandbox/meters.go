// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

const (
	// scrapeTime and maxScrape bound what is read of a plugin's metrics.
	scrapeTime = 2 * time.Second
	maxScrape  = 4 << 20
)

// A meter is a number at a glance.
type meter struct {
	Name   string   `json:"name"`
	Values []string `json:"values"` // by plugin
}

// meters are what the plugins have counted, and their names.
func (s *sandbox) meters(ctx context.Context) (plugins []string, all []meter) {
	var scrapes []scrape
	for _, service := range s.services {
		plugins = append(plugins, service.title)
		scrapes = append(scrapes, scrapeOf(ctx, "http://"+s.at.plugins[service.plugin].metrics+"/metrics"))
	}
	for _, m := range [...]struct {
		name string
		of   func(scrape) string
	}{
		{"prompts", legCount("request")},
		{"answers", legCount("response")},
		{"blocked", legCount("", "policy_block")},
		{"masked", legCount("", "mask")},
		{"no verdict", legCount("", "no_verdict", "degraded_verdict", "misconfigured", "no_room", "own_fault")},
		{"passed unscanned", legCount("", "unscanned")},
		{"a prompt waits, mean", meanWait("request")},
		{"an answer waits, mean", meanWait("response")},
		{"calls to the service", func(s scrape) string { return s.sum("ai_guard_service_calls_total", nil) }},
		{"of them without success", func(s scrape) string {
			return s.sum("ai_guard_service_calls_total", func(l labels) bool { return l["result"] != "answered" })
		}},
		{"relayed", func(s scrape) string { return s.sum("ai_guard_relayed_total", nil) }},
		{"breakers open", func(s scrape) string { return s.sum("ai_guard_breakers_open", nil) }},
	} {
		row := meter{Name: m.name}
		for _, scrape := range scrapes {
			value := "?"
			if scrape != nil {
				value = m.of(scrape)
			}
			row.Values = append(row.Values, value)
		}
		all = append(all, row)
	}
	return plugins, all
}

type labels map[string]string

// A sample is one series of a scrape: of a histogram, its sum and count.
type sample struct {
	labels     labels
	value, sum float64
}

// A scrape is the metrics of a plugin by name, nil if they could not be read.
type scrape map[string][]sample

func scrapeOf(ctx context.Context, url string) scrape {
	ctx, cancel := context.WithTimeout(ctx, scrapeTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil
	}
	defer res.Body.Close()
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(io.LimitReader(res.Body, maxScrape))
	if err != nil || res.StatusCode != http.StatusOK {
		return nil
	}
	all := scrape{}
	for name, family := range families {
		for _, m := range family.Metric {
			one := sample{labels: labels{}}
			for _, l := range m.Label {
				one.labels[l.GetName()] = l.GetValue()
			}
			one.value = m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			one.sum = m.GetHistogram().GetSampleSum()
			all[name] = append(all[name], one)
		}
	}
	return all
}

// sum adds up the series whose labels fit.
func (s scrape) sum(name string, fits func(labels) bool) string {
	total := 0.0
	for _, one := range s[name] {
		if fits == nil || fits(one.labels) {
			total += one.value
		}
	}
	return strconv.FormatFloat(total, 'f', -1, 64)
}

// legCount counts legs: "" and no outcome stand for any.
func legCount(leg string, outcomes ...string) func(scrape) string {
	return func(s scrape) string {
		return s.sum("ai_guard_legs_total", func(l labels) bool {
			return (leg == "" || l["leg"] == leg) && (len(outcomes) == 0 || slices.Contains(outcomes, l["outcome"]))
		})
	}
}

// meanWait is how long Kong waited for a leg on the average.
func meanWait(leg string) func(scrape) string {
	return func(s scrape) string {
		var count, sum float64
		for _, one := range s["ai_guard_leg_seconds"] {
			if one.labels["leg"] == leg {
				count, sum = count+one.value, sum+one.sum
			}
		}
		if mean := 1000 * sum / count; !math.IsNaN(mean) {
			return fmt.Sprintf("%.1f ms", mean)
		}
		return "-"
	}
}
