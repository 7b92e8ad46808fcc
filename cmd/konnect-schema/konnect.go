// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/kong-ai-guard/kong-ai-guard/internal/telemetry"
)

const (
	// maxAnswer bounds an answer of Konnect's, in bytes; a schema has 20 KB.
	maxAnswer = 4 << 20
	// maxProblem bounds what is shown of an answer that is an error.
	maxProblem = 500
)

// konnect is the API for the plugin schemas of one control plane.
type konnect struct {
	at     *url.URL
	token  string
	client *http.Client
}

// A schema is one that Konnect has.
type schema struct {
	Name      string `json:"name"`
	LuaSchema string `json:"lua_schema"`
}

// errAbsent says that Konnect has no schema of that name.
var errAbsent = errors.New("it is not there")

// upload brings a schema to Konnect, unless Konnect has the same already, and
// returns what it did.
func (k *konnect) upload(ctx context.Context, name, lua string) (done string, err error) {
	has, err := k.get(ctx, name)
	switch {
	case err == nil && has.LuaSchema == lua:
		return "unchanged", nil
	case err == nil:
		done, err = "updated", k.put(ctx, name, lua)
	case errors.Is(err, errAbsent):
		done, err = "created", k.post(ctx, lua)
	}
	if err != nil {
		return "", err
	}
	has, err = k.get(ctx, name)
	switch {
	case err != nil:
		return "", fmt.Errorf("looking whether it arrived: %w", err)
	case has.Name != name || has.LuaSchema != lua:
		return "", errors.New("it was taken, and yet another one is there now")
	}
	return done, nil
}

func (k *konnect) get(ctx context.Context, name string) (schema, error) {
	var s schema
	err := k.call(ctx, http.MethodGet, k.at.JoinPath(name), nil, http.StatusOK, &s)
	return s, err
}

func (k *konnect) put(ctx context.Context, name, lua string) error {
	return k.call(ctx, http.MethodPut, k.at.JoinPath(name), &schema{LuaSchema: lua}, http.StatusOK, nil)
}

func (k *konnect) post(ctx context.Context, lua string) error {
	return k.call(ctx, http.MethodPost, k.at, &schema{LuaSchema: lua}, http.StatusCreated, nil)
}

// call sends a schema, nil for none, and reads one into out, unless it is nil.
func (k *konnect) call(ctx context.Context, method string, at *url.URL, in *schema, want int, out *schema) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(map[string]string{"lua_schema": in.LuaSchema})
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, at.String(), body)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+k.token)
	req.Header.Set("Accept", "application/json")
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := k.client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	switch {
	case err != nil:
		return err
	case len(answer) > maxAnswer:
		return fmt.Errorf("%s gave an answer that is too large", method)
	case res.StatusCode == http.StatusNotFound && method == http.MethodGet:
		return errAbsent
	case res.StatusCode == http.StatusUnauthorized || res.StatusCode == http.StatusForbidden:
		return fmt.Errorf("%s gave %s: look at KONNECT_TOKEN, the region and the control plane", method, res.Status)
	case res.StatusCode != want:
		return fmt.Errorf("%s gave %s: %s", method, res.Status, telemetry.Line(string(answer[:min(len(answer), maxProblem)])))
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("%s gave an answer that is not JSON", method)
	}
	return nil
}
