// SPDX-License-Identifier: Apache-2.0

package airs_test

import (
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/fakeairs"
	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/fakenoma"
	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/kongtest"
)

// TestMaskingBesideAnotherScanner has Noma's plugin come after ours: an answer
// that we masked would end the phase before it could look.
func TestMaskingBesideAnotherScanner(t *testing.T) {
	const noma = "noma-runtime-protection"
	path := filepath.Join(t.TempDir(), noma)
	if out, err := exec.Command("go", "build", "-o", path, "github.com/kong-ai-guard/kong-ai-guard/cmd/"+noma).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	service := fakenoma.New(fakenoma.Options{ClientID: "id", ClientSecret: "secret"})
	srv := httptest.NewServer(service)
	t.Cleanup(srv.Close)
	other := kongtest.Plugin{Name: noma, Config: map[string]any{"API_base": srv.URL, "client_ID": "id", "client_secret": "secret"}}
	const card, masked = "4111 1111 1111 1111", "XXXXXXXXXXXXXXXXXXX"
	for _, tc := range []struct {
		name   string
		early  bool
		status int
		body   string
	}{
		{"blocked, since it cannot be both masked and seen", false, 403, ""},
		{"masked, as the operator says", true, 200, completion("it is " + masked)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := buildBeside(t, map[string]any{"mask_sensitive_data": true, "allow_early_mask": tc.early}, path, other)
			h.airs.SetOptions(fakeairs.Options{Keys: []string{apiKey}})
			r := h.post(t, chatPath, chat("what is it?"), completion("it is "+card))
			if r.status != tc.status || tc.body != "" && r.body != tc.body {
				t.Errorf("%+v", r)
			}
			r = h.post(t, chatPath, chat("my card is "+card), completion("noted"))
			if r.status != 200 || h.asked[len(h.asked)-1] != chat("my card is "+masked) {
				t.Errorf("a request: %+v, the model got %q", r, h.asked)
			}
			before := len(service.Requests(fakenoma.ScanPath))
			h.post(t, chatPath, chat("hi"), completion("hello"))
			if n := len(service.Requests(fakenoma.ScanPath)) - before; n != 2 {
				t.Errorf("the other plugin scanned %d legs", n)
			}
		})
	}
}
