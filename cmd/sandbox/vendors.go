// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/fakeairs"
	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/fakenoma"
	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/switches"
	"github.com/kong-ai-guard/kong-ai-guard/plugins"
)

// A vendor is what the sandbox has to know of a plugin and of the scan service
// behind it.
type vendor struct {
	word    string // for the service, in flags and in the paths of the switches
	title   string // what people call the service
	route   string // that is scanned by this one alone, in kong/kong.yml
	listens place  // unless flags say otherwise
	standIn func() *switches.Service
	// secrets returns what the configuration's {vault://env/...} stand for when
	// the service is at an address.
	secrets func(at string) map[string]string
}

// A place is where a vendor's stand-in listens, and where its plugin shows
// metrics.
type place struct{ service, metrics string }

// The plugins that the demonstration and the introduction name.
const (
	prisma = "prisma-airs-intercept"
	noma   = "noma-runtime-protection"
)

// What the stand-ins know their customers by. These are not secrets.
const (
	airsKey     = "sandbox-airs-key"
	airsProfile = "demo-profile"
	nomaID      = "sandbox-client"
	nomaSecret  = "sandbox-secret"
)

func newAIRS() *switches.Service {
	return switches.AIRS(fakeairs.Options{Keys: []string{airsKey}, Profiles: []string{airsProfile}})
}

func airsSecrets(at string) map[string]string {
	return map[string]string{"PRISMA_AIRS_API_KEY": airsKey, "PRISMA_AIRS_ENDPOINT": "http://" + at}
}

func newNoma() *switches.Service {
	return switches.Noma(fakenoma.Options{ClientID: nomaID, ClientSecret: nomaSecret})
}

func nomaSecrets(at string) map[string]string {
	return map[string]string{"NOMA_API_BASE": "http://" + at, "NOMA_CLIENT_ID": nomaID, "NOMA_CLIENT_SECRET": nomaSecret}
}

var vendors = map[string]vendor{
	prisma: {word: "airs", title: "Prisma AIRS", route: "/your-route", listens: place{"127.0.0.1:8004", "127.0.0.1:9542"}, standIn: newAIRS, secrets: airsSecrets},
	noma:   {word: "noma", title: "Noma", route: "/noma", listens: place{"127.0.0.1:8005", "127.0.0.1:9543"}, standIn: newNoma, secrets: nomaSecrets},
}

// A service is a vendor's stand-in that runs.
type service struct {
	vendor
	*switches.Service
	plugin string
	gate   *waiting // in front of it
}

// newServices makes a stand-in for each plugin, in the order of the list.
func newServices() ([]*service, error) {
	var all []*service
	for _, plugin := range plugins.Names() {
		v, ok := vendors[plugin]
		if !ok {
			return nil, fmt.Errorf("there is no stand-in for the service of %s", plugin)
		}
		in := v.standIn()
		all = append(all, &service{vendor: v, Service: in, plugin: plugin, gate: &waiting{handler: in}})
	}
	return all, nil
}

// of returns the service of a plugin.
func (s *sandbox) of(plugin string) *service {
	for _, service := range s.services {
		if service.plugin == plugin {
			return service
		}
	}
	return nil
}
