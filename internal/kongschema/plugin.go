// SPDX-License-Identifier: Apache-2.0

// Package kongschema holds the configuration of a plugin as one declaration,
// bound to the Go variables that take the values. From it come the decoding of
// what Kong hands over, the schema that Kong enforces (in a plugin server's
// -dump and as schema.lua), a JSON Schema and the reference table of the
// documentation, so that they cannot differ.
package kongschema

import "fmt"

// A Plugin is what Kong's schema language says of a plugin.
type Plugin struct {
	// Name is the plugin's name, which is its executable's too.
	Name string
	// Protocols are the protocols that the plugin runs for, all of them
	// unless configured otherwise.
	Protocols []string
	// NoConsumer forbids configurations for one consumer only.
	NoConsumer bool
	// Config are the plugin's own fields.
	Config Record
	// Checks are rules about more than one field.
	Checks []EntityCheck
}

// An EntityCheck is a rule about several fields of the configuration.
type EntityCheck struct {
	kind   string
	fields []string
}

// AtLeastOneOf asks for one or more of the fields.
func AtLeastOneOf(fields ...string) EntityCheck { return EntityCheck{"at_least_one_of", fields} }

// MutuallyExclusive allows at most one of two fields.
func MutuallyExclusive(a, b string) EntityCheck {
	return EntityCheck{"mutually_exclusive", []string{a, b}}
}

// Check returns what Kong would refuse of the schema at its start, or what the
// reference page could not show.
func (p *Plugin) Check() error {
	if err := p.Config.Check(); err != nil {
		return err
	}
	if err := p.Config.checkGroups(false); err != nil {
		return err
	}
	names := p.Config.names()
	for _, c := range p.Checks {
		for _, field := range c.fields {
			if !names[field] {
				return fmt.Errorf("%s: no field %s", c.kind, field)
			}
		}
	}
	return nil
}
