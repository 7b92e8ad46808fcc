// SPDX-License-Identifier: Apache-2.0

package kongrules

import "strings"

const (
	referenceStart = "{vault://"
	envReference   = "{vault://env/"
)

// IsReference reports whether a value names a secret of a vault.
func IsReference(s string) bool {
	return strings.HasPrefix(s, referenceStart) && strings.HasSuffix(s, "}")
}

// Resolve returns a copy of a record in which references to the env vault stand
// for their secrets, in the fields for which the schema allows that: in them,
// in their elements and values, and in nested records. Each record with
// references keeps them under "$refs", as Kong does. A secret that is not there
// is "".
func Resolve(specs Fields, record map[string]any, env func(string) (string, bool)) map[string]any {
	out := make(map[string]any, len(record))
	refs := map[string]any{}
	for name, v := range record {
		f := specs.Named(name)
		if f == nil {
			out[name] = v
			continue
		}
		var ref any
		out[name], ref = resolveValue(f, f.Referenceable, v, env)
		if ref != nil {
			refs[name] = ref
		}
	}
	if len(refs) > 0 {
		out["$refs"] = refs
	}
	return out
}

// resolveValue returns the value with secrets in it, and what stood there.
func resolveValue(f *Field, allowed bool, v any, env func(string) (string, bool)) (value, ref any) {
	switch v := v.(type) {
	case string:
		if allowed && IsReference(v) {
			return secret(v, env), v
		}
	case []any:
		if f.Elements == nil {
			return v, nil
		}
		out, refs, found := make([]any, len(v)), make([]any, len(v)), false
		for i := range v {
			out[i], refs[i] = resolveValue(f.Elements, allowed || f.Elements.Referenceable, v[i], env)
			found = found || refs[i] != nil
		}
		if found {
			return out, refs
		}
		return out, nil
	case map[string]any:
		if f.Type == "record" {
			return Resolve(f.Fields, v, env), nil
		}
		if f.Values == nil {
			return v, nil
		}
		out, refs := make(map[string]any, len(v)), map[string]any{}
		for name := range v {
			var ref any
			out[name], ref = resolveValue(f.Values, allowed || f.Values.Referenceable, v[name], env)
			if ref != nil {
				refs[name] = ref
			}
		}
		if len(refs) > 0 {
			return out, refs
		}
		return out, nil
	}
	return v, nil
}

// secret reads the environment variable that a reference names: upper case,
// with "_" for "-".
func secret(reference string, env func(string) (string, bool)) string {
	name, ok := strings.CutPrefix(strings.TrimSuffix(reference, "}"), envReference)
	if !ok {
		return ""
	}
	value, _ := env(strings.ToUpper(strings.ReplaceAll(name, "-", "_")))
	return value
}
