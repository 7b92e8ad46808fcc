// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/http"
	"net/url"

	"github.com/kong-ai-guard/kong-ai-guard/plugins"
)

// A vendor is what the sandbox has to know of a plugin and of the scan service
// behind it.
type vendor struct {
	word    string // for the service, in flags and in the paths of the switches
	title   string // what people call the service
	route   string // that is scanned by this one alone, in kong/kong.yml
	listens place  // unless flags say otherwise
	standIn func() standIn
}

// A place is where a vendor's stand-in listens, and where its plugin shows
// metrics.
type place struct{ service, metrics string }

// A standIn plays a scan service.
type standIn interface {
	http.Handler
	// secrets returns what the configuration's {vault://env/...} stand for when
	// the service is at an address.
	secrets(at string) map[string]string
	// saw returns the scans that came in.
	saw() []seen
	// fail makes it misbehave. The zero fault ends that.
	fail(fault) error
	// behave makes it behave as options say. They replace all that was wanted
	// before: no options end it.
	behave(options url.Values) error
}

// The plugins that the demonstration and the introduction name.
const (
	prisma = "prisma-airs-intercept"
	noma   = "noma-runtime-protection"
)

var vendors = map[string]vendor{
	prisma: {word: "airs", title: "Prisma AIRS", route: "/your-route", listens: place{"127.0.0.1:8004", "127.0.0.1:9542"}, standIn: newAIRS},
	noma:   {word: "noma", title: "Noma", route: "/noma", listens: place{"127.0.0.1:8005", "127.0.0.1:9543"}, standIn: newNoma},
}

// A service is a vendor's stand-in that runs, and can be switched off.
type service struct {
	vendor
	standIn
	plugin string
	off    *breakable
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
		all = append(all, &service{v, in, plugin, &breakable{handler: in}})
	}
	return all, nil
}

// fail makes the service misbehave, or be gone.
func (s *service) fail(f fault) error {
	if err := s.standIn.fail(f); err != nil {
		return err
	}
	s.off.down.Store(f.down)
	return nil
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
