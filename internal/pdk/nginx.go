// SPDX-License-Identifier: Apache-2.0

package pdk

// NginxVar asks for a variable of nginx; see Call.Text. A variable that does
// not exist is "".
func NginxVar(name string) Call {
	return Call{Method: "kong.nginx.get_var", Args: textArgs(name)}
}

// NginxCtx asks for a value of the request's ngx.ctx; see Call.Value.
func NginxCtx(key string) Call {
	return Call{Method: "kong.nginx.get_ctx", Args: textArgs(key)}
}

// SetNginxCtxText puts a text into the request's ngx.ctx.
func SetNginxCtxText(key, value string) Call {
	return Call{Method: "kong.nginx.set_ctx", Args: textPairArgs(key, value)}
}

// SetNginxCtxBool puts a boolean into the request's ngx.ctx. Kong loses false
// on the way and stores nil, which Lua takes for the same.
func SetNginxCtxBool(key string, value bool) Call {
	return Call{Method: "kong.nginx.set_ctx", Args: pairArgs(key, boolValue(value))}
}

// CtxShared asks for a value of kong.ctx.shared, which all plugins of a
// request share; see Call.Value.
func CtxShared(key string) Call {
	return Call{Method: "kong.ctx.shared.get", Args: textArgs(key)}
}

// SetCtxSharedText puts a text into kong.ctx.shared.
func SetCtxSharedText(key, value string) Call {
	return Call{Method: "kong.ctx.shared.set", Args: textPairArgs(key, value)}
}

// SetNginxCtxStruct puts a table into the request's ngx.ctx.
func SetNginxCtxStruct(key string, value Struct) Call {
	return Call{Method: "kong.nginx.set_ctx", Args: value.pairArgs(key)}
}

// SetNginxCtxAsRead puts back what NginxCtx has read, but for functions in it,
// which Kong cannot send. The reply is copied.
func SetNginxCtxAsRead(key string, read *Call) Call {
	value := read.Reply
	if len(value) == 0 {
		value = []byte{byte(valueNull << 3), 0}
	}
	return Call{Method: "kong.nginx.set_ctx", Args: pairArgs(key, value)}
}
