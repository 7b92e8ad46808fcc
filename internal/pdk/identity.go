// SPDX-License-Identifier: Apache-2.0

package pdk

import "google.golang.org/protobuf/encoding/protowire"

// A Consumer is who Kong has authenticated the caller as. It is zero when
// nobody was.
type Consumer struct {
	ID, CustomID, Username string
}

// A Service is what a route leads to. It is zero for a route without one.
type Service struct {
	ID, Name string
}

// A Route is the entry that matched a request. It is zero when none did.
type Route struct {
	ID, Name string
}

// ClientConsumer asks for the request's consumer; see Call.Consumer.
func ClientConsumer() Call {
	return Call{Method: "kong.client.get_consumer"}
}

// ClientForwardedIP asks for the caller's address, as Kong takes it from
// trusted proxies; see Call.Text.
func ClientForwardedIP() Call {
	return Call{Method: "kong.client.get_forwarded_ip"}
}

// RouterService asks for the request's service; see Call.Service.
func RouterService() Call {
	return Call{Method: "kong.router.get_service"}
}

// RouterRoute asks for the request's route; see Call.Route.
func RouterRoute() Call {
	return Call{Method: "kong.router.get_route"}
}

// Consumer decodes the reply to ClientConsumer.
func (c *Call) Consumer() (Consumer, error) {
	t, err := c.texts(1, 4, 3)
	return Consumer{ID: t[0], CustomID: t[1], Username: t[2]}, err
}

// Service decodes the reply to RouterService.
func (c *Call) Service() (Service, error) {
	t, err := c.texts(1, 4, 0)
	return Service{ID: t[0], Name: t[1]}, err
}

// Route decodes the reply to RouterRoute.
func (c *Call) Route() (Route, error) {
	t, err := c.texts(1, 4, 0)
	return Route{ID: t[0], Name: t[1]}, err
}

// texts returns the texts that stand in three fields of the reply; 0 is no
// field.
func (c *Call) texts(fields ...protowire.Number) (texts [3]string, err error) {
	if c.Err != nil {
		return texts, c.Err
	}
	cur := cursor[[]byte]{in: c.Reply}
	for cur.next() {
		for i, num := range fields {
			if cur.num == num && cur.typ == protowire.BytesType {
				texts[i] = string(cur.data())
			}
		}
	}
	if err := cur.err(); err != nil {
		return [3]string{}, err
	}
	return texts, nil
}
