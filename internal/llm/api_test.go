// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"go/ast"
	"go/parser"
	source "go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/tidwall/gjson"
)

// TestAddAFormat adds one that there is not, with what the file of a format has.
func TestAddAFormat(t *testing.T) {
	tale := api{
		format:     "tale",
		paths:      []string{"/tell", "/tales/completions"},
		unlessTold: []string{"/tell"},
		prompts:    "tellMe",
		asks:       "teller",
		spelled:    "tellme",
		answers:    "tale",
		request:    func(s signs) bool { return s.has("tellMe") },
		answer:     func(s signs) bool { return s.has("tale") },
		grammar: func() {
			requestShape.add(field{rule: text, kind: KindText, role: RoleUser}, "tellMe")
			requestShape.add(fModel, "teller")
			answerShape.add(field{rule: text, kind: KindText, role: RoleAssistant}, "tale")
		},
		refuse: func(o *object, r *Refusal) { o.str("sorry", r.Message) },
	}
	before := known
	known = register(append([]*api{&tale}, apis...))
	tale.grammar()
	requestShape.foldNames()
	answerShape.foldNames()
	defer func() {
		known = before
		delete(requestShape.fields, "tellMe")
		delete(requestShape.fields, "teller")
		delete(answerShape.fields, "tale")
		requestShape.foldNames()
		answerShape.foldNames()
	}()

	for path, want := range map[string]Format{
		"/v1/tell": tale.format, "/tales/completions": tale.format, "/v1/completions": OpenAICompletions, "/x": OpenAIChat,
	} {
		if got := FormatOf(path); got != want {
			t.Errorf("%s is %s, not %s", path, got, want)
		}
	}

	const question = `{"tellMe":"of the sea","teller":"bard-1"}`
	m, err := Read(Input{Leg: RequestLeg, Body: []byte(question)}, testLimits)
	if err != nil {
		t.Fatal(err)
	}
	if m.Format != tale.format || !m.Chat || m.Stream || len(m.Turns) != 1 || m.Turns[0].Role != RoleUser || m.Turns[0].Text != "of the sea" {
		t.Errorf("request: %s", dump(m))
	}
	m, err = Read(Input{Leg: RequestLeg, Path: "/tell", Body: []byte(`{"teller":"bard-1"}`)}, testLimits)
	if err != nil || m.Format != tale.format || m.Chat || !m.Stream {
		t.Errorf("request without a prompt: %v %+v", err, m)
	}
	for _, body := range []string{`{"TellMe":"of the sea"}`, `{"tellMe":"of the sea","tellme":"of the hills"}`} {
		if _, err = Read(Input{Leg: RequestLeg, Body: []byte(body)}, testLimits); err == nil {
			t.Errorf("read %s", body)
		}
	}
	m, err = Read(Input{Leg: ResponseLeg, Body: []byte(`{"tale":"Once there was a ferry."}`)}, testLimits)
	if err != nil {
		t.Fatal(err)
	}
	if m.Format != tale.format || len(m.Turns) != 1 || m.Turns[0].Role != RoleAssistant || m.Turns[0].Kind != KindText {
		t.Errorf("answer: %s", dump(m))
	}

	_, body := Render(Refusal{Format: tale.format, Status: 403, Message: "No.", Code: "policy_violation"})
	if want := `{"sorry":"No.","message":"No.","code":"policy_violation"}`; string(body) != want {
		t.Errorf("refused with %s", body)
	}
}

// TestFormatsAreComplete holds the constants, the list, the test data and the
// models that the sandbox plays against each other.
func TestFormatsAreComplete(t *testing.T) {
	noAPI := []Format{None, Unknown, Text, Form, Media}
	noModel := []Format{Gemini, BedrockConverse, BedrockInvoke, Cohere, AnthropicAgents, TGI} // the sandbox has none of these
	golden := goldenFormats(t)
	played := sourceOf(t, "fakellm")

	var declared []Format
	for _, f := range formatConstants(t) {
		if !slices.Contains(noAPI, f) {
			declared = append(declared, f)
		}
	}
	var listed []Format
	for _, a := range apis {
		if a.format != None { // names alone
			listed = append(listed, a.format)
		}
	}
	slices.Sort(declared)
	slices.Sort(listed)
	if !slices.Equal(declared, listed) {
		t.Errorf("declared are %q, listed %q", declared, listed)
	}
	ends := make(map[string]Format)
	for _, a := range apis {
		if a.format == None {
			continue
		}
		if !golden[a.format] {
			t.Errorf("no body in testdata/llm is %s", a.format)
		}
		plays := slices.ContainsFunc(a.paths, func(end string) bool { return strings.Contains(played, end+`"`) })
		if plays == slices.Contains(noModel, a.format) {
			t.Errorf("a model that speaks %s: %t", a.format, plays)
		}
		for _, end := range a.paths {
			if ends[end] != None {
				t.Errorf("%s is a path of %s and of %s", end, ends[end], a.format)
			}
			ends[end] = a.format
		}
		if a.refuse == nil && a.format != MCP {
			t.Errorf("%s has no refusal", a.format)
		}
	}
	for _, a := range surest {
		if !slices.Contains(apis, a) || a.answer == nil {
			t.Errorf("%s is among the surest", a.format)
		}
	}
}

// formatConstants returns the values of this package's constants of type Format.
func formatConstants(t *testing.T) []Format {
	paths, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var formats []Format
	for _, path := range paths {
		file, err := parser.ParseFile(source.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok || len(spec.Values) != 1 {
				return true
			}
			kind, ok := spec.Type.(*ast.Ident)
			value, literal := spec.Values[0].(*ast.BasicLit)
			if ok && literal && kind.Name == "Format" {
				s, err := strconv.Unquote(value.Value)
				if err != nil {
					t.Fatal(err)
				}
				formats = append(formats, Format(s))
			}
			return true
		})
	}
	return formats
}

// goldenFormats returns the formats of the golden files.
func goldenFormats(t *testing.T) map[Format]bool {
	paths, err := filepath.Glob(filepath.Join("..", "..", "testdata", "llm", "*", "*.golden"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	formats := make(map[Format]bool)
	for _, path := range paths {
		body, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		first, _, _ := strings.Cut(string(body), "\n")
		formats[Format(strings.TrimPrefix(first, "format "))] = true
	}
	return formats
}

// sourceOf returns the source of the package called name, without its tests.
func sourceOf(t *testing.T, name string) string {
	var code strings.Builder
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || filepath.Base(filepath.Dir(path)) != name || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			return err
		}
		body, err := os.ReadFile(path)
		code.Write(body)
		return err
	})
	if err != nil || code.Len() == 0 {
		t.Fatalf("no package %s: %v", name, err)
	}
	return code.String()
}

// TestRefusalTypes holds the words for a refusal's status against each format.
func TestRefusalTypes(t *testing.T) {
	for _, tt := range []struct {
		format Format
		place  string
		want   map[int]string
	}{
		{OpenAIChat, "error.type", map[int]string{400: "invalid_request_error", 403: "permission_error", 413: "invalid_request_error", 503: "server_error"}},
		{Unknown, "error.type", map[int]string{400: "invalid_request_error", 403: "permission_error", 503: "server_error"}},
		{AnthropicMessages, "error.type", map[int]string{400: "invalid_request_error", 403: "permission_error", 413: "request_too_large", 502: "api_error"}},
		{AnthropicAgents, "error.type", map[int]string{403: "permission_error", 503: "api_error"}},
		{Gemini, "error.status", map[int]string{400: "INVALID_ARGUMENT", 403: "PERMISSION_DENIED", 502: "INTERNAL", 503: "UNAVAILABLE"}},
		{OpenAIConversations, "error.type", map[int]string{400: "invalid_request_error", 403: "permission_error", 503: "server_error"}},
		{GeminiInteractions, "error.status", map[int]string{400: "INVALID_ARGUMENT", 403: "PERMISSION_DENIED", 503: "UNAVAILABLE"}},
		{GeminiInteractions, "error.message", map[int]string{403: "No."}},
		{BedrockConverse, "__type", map[int]string{400: "ValidationException", 403: "AccessDeniedException", 502: "InternalServerException", 503: "ServiceUnavailableException"}},
		{BedrockInvoke, "__type", map[int]string{400: "ValidationException"}},
		{Ollama, "error", map[int]string{400: "No.", 503: "No."}},
		{TGI, "error", map[int]string{400: "No.", 503: "No."}},
		{Cohere, "message", map[int]string{400: "No.", 503: "No."}},
		{A2A, "error.status", map[int]string{403: "PERMISSION_DENIED", 503: "UNAVAILABLE"}},
		{MCP, "error.code", map[int]string{400: "-31003", 503: "-31003"}},
	} {
		for status, want := range tt.want {
			_, body := Render(Refusal{Format: tt.format, Status: status, Message: "No."})
			if got := gjson.GetBytes(body, tt.place).String(); got != want || !gjson.ValidBytes(body) {
				t.Errorf("%s, %d: %s", tt.format, status, body)
			}
		}
	}
}
