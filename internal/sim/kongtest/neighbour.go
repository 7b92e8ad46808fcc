// SPDX-License-Identifier: Apache-2.0

package kongtest

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"

	"github.com/kong-ai-guard/kong-ai-guard/internal/kongrules"
)

// A Neighbour is a plugin of Kong's own or of another vendor, played in Go. It
// is configured like any plugin, by its name. Its configuration is not checked.
type Neighbour struct {
	Name     string
	Priority float64
	// Access, unless nil, runs in the access phase, Response in the response
	// phase. A neighbour with Response has Kong buffer answers.
	Access   func(*Access)
	Response func(*Answer)
}

func (n Neighbour) info() *pluginInfo {
	info := &pluginInfo{Name: n.Name, Priority: &n.Priority, neighbour: &n}
	if n.Access != nil {
		info.Phases = append(info.Phases, "access")
	}
	if n.Response != nil {
		info.Phases = append(info.Phases, "response")
	}
	return info
}

// An Access is what a neighbour can do in the access phase.
type Access struct {
	// Config is the neighbour's configuration.
	Config map[string]any
	x      *exchange
}

// Header is the first value of a header of the request, "" for none.
func (a *Access) Header(name string) string { return a.x.requestHeader(name) }

// SetHeader sets a header of the request; without values it goes.
func (a *Access) SetHeader(name string, values ...string) {
	if len(values) == 0 {
		delete(a.x.header, strings.ToLower(name))
		return
	}
	a.x.setHeader(name, values...)
}

// Body is the request's body as it is by now.
func (a *Access) Body() ([]byte, error) {
	if err := a.x.readBody(); err != nil {
		return nil, err
	}
	if a.x.inFile {
		return os.ReadFile(a.x.file)
	}
	return slices.Clone(a.x.body), nil
}

// SetBody replaces the body.
func (a *Access) SetBody(body []byte) { a.x.setBody(slices.Clone(body)) }

// SetTarget sends the request elsewhere; path "" leaves the path alone.
func (a *Access) SetTarget(scheme, host string, port int, path string) error {
	err := errors.Join(a.x.setScheme(scheme), a.x.setTarget(host, port))
	if path != "" {
		err = errors.Join(err, a.x.setPath(path))
	}
	return err
}

// Ctx is a value of ngx.ctx: nil, bool, float64, string, []any or
// map[string]any.
func (a *Access) Ctx(name string) any { return a.x.inContext(name) }

// SetCtx sets one; nil removes it.
func (a *Access) SetCtx(name string, v any) {
	if v == nil {
		delete(a.x.ctx, name)
		return
	}
	a.x.ctx[name] = v
}

// Exit answers the client. Nothing else happens in access after that.
func (a *Access) Exit(status int, header http.Header, body []byte) {
	a.x.exitWith(status, header, body)
}

// An Answer is what a neighbour can do in the response phase.
type Answer struct {
	// Config is the neighbour's configuration.
	Config map[string]any
	// Status, Header and Body are the upstream's.
	Status int
	Header http.Header
	Body   []byte
	x      *exchange
}

// Exit answers the client with something else. The upstream's headers stay
// unless they are set here.
func (a *Answer) Exit(status int, header http.Header, body []byte) {
	a.x.exitWith(status, header, body)
}

func (x *exchange) exitWith(status int, header http.Header, body []byte) {
	for name, values := range header {
		x.answerHeader[http.CanonicalHeaderKey(name)] = values
	}
	x.exit = &exitArgs{status: status, body: body}
}

// turn runs one phase of a neighbour. A panic is a Lua error.
func (x *exchange) turn(n *Neighbour, conf *pluginConfig) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("%s: %v", n.Name, v)
			x.log("err", n.Name, err.Error())
		}
	}()
	if x.phase == "access" {
		n.Access(&Access{Config: conf.config, x: x})
		return nil
	}
	n.Response(&Answer{Config: conf.config, Status: x.status, Header: x.upHeader.Clone(), Body: slices.Clone(x.upBody), x: x})
	return nil
}

// unchecked is the configuration of a neighbour, which has no schema.
func unchecked(p Plugin) (config map[string]any, protocols []any) {
	config = map[string]any{}
	if p.Config != nil {
		config, _ = kongrules.Normalise(p.Config).(map[string]any)
	}
	if len(p.Protocols) == 0 {
		return config, []any{"grpc", "grpcs", "http", "https"}
	}
	return config, texts(p.Protocols)
}
