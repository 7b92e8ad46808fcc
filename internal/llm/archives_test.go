// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"archive/zip"
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
)

// zipped returns an archive. Names and texts take turns.
func zipped(t testing.TB, files ...string) string {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for i := 0; i < len(files); i += 2 {
		f, err := w.Create(files[i])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(f, files[i+1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func in64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// skillRequest is a request whose tool has a source.
func skillRequest(source string) string {
	return `{"model":"gpt-5.4","input":"hi","tools":[{"type":"shell","environment":{"type":"container_auto","skills":[{"type":"inline","name":"tides","description":"Reads tide tables.","source":` + source + `}]}}]}`
}

// skillSource is a source as OpenAI's API has it.
func skillSource(data string) string {
	return fmt.Sprintf(`{"type":"base64","media_type":"application/zip","data":%q}`, data)
}

// TestArchivesOfTools: what a tool's archive says is part of the tool, wherever
// the archive stands and whatever it is said to be.
func TestArchivesOfTools(t *testing.T) {
	good := zipped(t, "tides/SKILL.md", "Read the tide table first.", "tides/run.py", "print('low water')\n", "tides/logo.png", "\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x06\x00\x00\x00\x1f\x15\xc4\x89\x00\x00\x00\x00IEND\xaeB`\x82",
		"tides/ports.json", `{"port":"Salt\u006darsh"}`)
	lines := in64(good)
	lines = lines[:76] + `\r\n` + lines[76:]
	for name, body := range map[string]string{
		"a skill":                       skillRequest(skillSource(in64(good))),
		"a data URL":                    skillRequest(skillSource("data:application/zip;base64," + in64(good))),
		"a data URL behind blanks":      skillRequest(skillSource("           data:application/zip;base64," + in64(good))),
		"a data URL of text":            skillRequest(skillSource("data:text/plain;base64," + in64(good))),
		"no media type":                 skillRequest(fmt.Sprintf(`{"data":%q}`, in64(good))),
		"another media type":            skillRequest(fmt.Sprintf(`{"media_type":"text/plain","data":%q}`, in64(good))),
		"a data URL of another type":    skillRequest(fmt.Sprintf(`{"url":%q}`, "DATA:image/png;base64,"+in64(good))),
		"a bare string":                 skillRequest(fmt.Sprintf("%q", in64(good))),
		"with line ends":                skillRequest(`{"data":"` + lines + `"}`),
		"without padding":               skillRequest(fmt.Sprintf(`{"data":%q}`, strings.TrimRight(in64(good), "="))),
		"in a list":                     skillRequest(fmt.Sprintf(`["x",%q]`, in64(good))),
		"in JSON in a string":           skillRequest(fmt.Sprintf("%q", fmt.Sprintf(`{"data":%q}`, in64(good)))),
		"a description":                 fmt.Sprintf(`{"model":"m","messages":[{"role":"user","content":"hi"}],"tools":[{"type":"function","function":{"name":"f","description":%q}}]}`, in64(good)),
		"a default in a schema":         fmt.Sprintf(`{"model":"m","messages":[{"role":"user","content":"hi"}],"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object","properties":{"a":{"type":"string","default":%q}}}}}]}`, in64(good)),
		"a container made of skills":    fmt.Sprintf(`{"name":"c","skills":[{"type":"inline","name":"tides","description":"Reads tide tables.","source":%s}]}`, skillSource(in64(good))),
		"a tool that is nothing but it": fmt.Sprintf(`{"model":"m","input":"hi","tools":[%q]}`, in64(good)),
	} {
		t.Run(name, func(t *testing.T) {
			m, err := Read(Input{Body: []byte(body), ContentType: "application/json"}, testLimits)
			if err != nil {
				t.Fatal(err)
			}
			said := ""
			for _, turn := range m.Turns {
				said += turn.Text + "\n"
				if strings.Contains(turn.Text, "UEsD") && !strings.HasPrefix(turn.Text, "{") {
					t.Errorf("the archive itself is told: %q", turn.Text)
				}
				if turn.Kind != KindToolDef && strings.Contains(turn.Text, "tide table first") {
					t.Errorf("it is a %s", turn.Kind)
				}
				if turn.Maskable && strings.Contains(turn.Text, "tide table first") {
					t.Error("it can be masked")
				}
			}
			for _, want := range []string{"tides/SKILL.md", "tides/logo.png", "Read the tide table first.", "print('low water')", "port: Saltmarsh"} {
				if !strings.Contains(said, want) {
					t.Errorf("%q is not told: %s", want, said)
				}
			}
			if len(m.Media) != 1 || m.Media[0].Type != "image/png" {
				t.Errorf("media %v", m.Media)
			}
		})
	}
}

// TestArchivesThatAreNotRead end the reading as what cannot be scanned.
func TestArchivesThatAreNotRead(t *testing.T) {
	good := zipped(t, "SKILL.md", "Read the tide table first.")
	code := in64(good)
	many := make([]string, 0, 2*maxArchived+2)
	for i := range maxArchived + 1 {
		many = append(many, fmt.Sprint(i), "")
	}
	for name, source := range map[string]string{
		"cut":                         skillSource(in64(good[:len(good)-4])),
		"no archive":                  skillSource(in64("Read the tide table first.")),
		"no string":                   skillSource(code)[:len(`{"type":"base64","media_type":"application/zip","data":`)] + `["x"]}`,
		"nothing":                     skillSource(""),
		"bytes before it":             skillSource(in64("#!/bin/sh\n" + good)),
		"a picture before it":         fmt.Sprintf("%q", in64("GIF89a"+good)),
		"an archive in it":            skillSource(in64(zipped(t, "a.docx", good))),
		"packed data in it":           skillSource(in64(zipped(t, "a.gz", "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\x01\x00\x00\xff\xff\x00\x00\x00\x00\x00\x00\x00\x00"))),
		"a bomb":                      skillSource(in64(zipped(t, "a.txt", strings.Repeat("a", 4<<20)))),
		"too many files":              skillSource(in64(zipped(t, many...))),
		"a text in an unread charset": skillSource(in64(zipped(t, "a.txt", "\xff\xfe\xfd\xfc\xfb\xfa\xf9\xf8\xf7\xf6\xf5\xf4\xf3\xf2"))),
		"the other alphabet":          fmt.Sprintf("%q", in64(good[:len(good)-22])+"-_8="+in64(good[len(good)-22:])),
		"a mark inside":               fmt.Sprintf("%q", code[:9]+"!"+code[9:]),
		"a blank inside":              fmt.Sprintf("%q", code[:9]+" "+code[9:]),
		"padding inside":              fmt.Sprintf("%q", code[:1]+"="+code[1:]),
		"padding before its end":      fmt.Sprintf("%q", code[:8]+"=="+code[8:]),
		"a dash before it":            fmt.Sprintf("%q", "-"+code),
		"too much padding":            fmt.Sprintf("%q", strings.TrimRight(code, "=")+"===="),
		"a data URL that is escaped":  fmt.Sprintf("%q", "data:application/zip;base64,"+strings.Replace(code, "U", "%55", 1)),
		"a data URL of bytes":         fmt.Sprintf("%q", "data:application/zip,PK%05%06"+strings.Repeat("%00", 18)),
	} {
		t.Run(name, func(t *testing.T) {
			body := skillRequest(source)
			m, err := Read(Input{Body: []byte(body), ContentType: "application/json", Path: "/v1/responses"}, testLimits)
			var bad *Error
			if !errors.As(err, &bad) || bad.Class != Unscannable {
				t.Errorf("%v, %v", m, err)
			}
		})
	}
}

// TestArchivesElsewhere are media, sound or not.
func TestArchivesElsewhere(t *testing.T) {
	for name, archive := range map[string]string{"sound": zipped(t, "SKILL.md", "Obey the buoy."), "doubled": zipped(t, "a", "x") + zipped(t, "b", "y")} {
		body := fmt.Sprintf(`{"model":"m","messages":[{"role":"user","content":[{"type":"file","file":{"filename":"a.zip","file_data":%q}}]}]}`, "data:application/zip;base64,"+in64(archive))
		m, err := Read(Input{Body: []byte(body), ContentType: "application/json"}, testLimits)
		if err != nil {
			t.Fatal(name, err)
		}
		if len(m.Media) != 1 || strings.Contains(dump(m), "buoy") {
			t.Errorf("%s: %s", name, dump(m))
		}
	}
}

// TestArchivesTogether: the bounds hold for all archives of a body.
func TestArchivesTogether(t *testing.T) {
	one := skillSource(in64(zipped(t, "a.txt", strings.Repeat("tide ", 1<<17))))
	many := skillRequest("[" + strings.Repeat(one+",", 20) + one + "]")
	lim := testLimits
	for bytes, ok := range map[int64]bool{32 << 20: true, 10 << 20: false} {
		lim.DecodedBytes = bytes
		if _, err := Read(Input{Body: []byte(many), ContentType: "application/json"}, lim); (err == nil) != ok {
			t.Errorf("%d bytes: %v", bytes, err)
		}
	}
}

// FuzzArchives: no archive crashes the reader, and what the standard library
// finds in one that is read is told.
func FuzzArchives(f *testing.F) {
	f.Add(in64(zipped(f, "SKILL.md", "Read the tide table first.")))
	f.Add("data:application/zip;base64," + in64(zipped(f, "a/b.txt", "x", "c", "y")))
	f.Fuzz(func(t *testing.T, data string) {
		m, err := Read(Input{Body: []byte(skillRequest(skillSource(strings.ToValidUTF8(data, "")))), ContentType: "application/json"}, testLimits)
		if err != nil {
			return
		}
		z, err := zip.NewReader(strings.NewReader(data), int64(len(data)))
		if err != nil {
			return
		}
		said := dump(m)
		for _, file := range z.File {
			if !strings.Contains(said, file.Name) {
				t.Errorf("%q is not told: %s", file.Name, said)
			}
		}
	})
}

func BenchmarkReadTools(b *testing.B) {
	tool := `{"type":"function","function":{"name":"read_tides","description":"` + strings.Repeat("Reads the tide table of a harbour, by its name. ", 40) + `","parameters":{"type":"object","properties":{"harbour":{"type":"string","description":"The harbour's name."}}}}}`
	body := []byte(`{"model":"m","messages":[{"role":"user","content":"hi"}],"tools":[` + strings.Repeat(tool+",", 49) + tool + `]}`)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Read(Input{Body: body, ContentType: "application/json", Path: "/v1/chat/completions"}, testLimits); err != nil {
			b.Fatal(err)
		}
	}
}

// TestMayPack: no archive is taken for prose, at any place in the bytes.
func TestMayPack(t *testing.T) {
	for n := range 3 {
		for _, mark := range []string{"PK\x03\x04", "PK\x05\x06"} {
			code := in64(strings.Repeat("\x07", n) + mark)
			for _, s := range []string{code, strings.Join(strings.Split(code, ""), "-= "), strings.Join(strings.Split(code, ""), "é")} {
				if !mayPack(s) {
					t.Errorf("%q", s)
				}
			}
		}
	}
	if mayPack("Reads the tide table of a Unified Berth, by its Quay's name. UB") {
		t.Error("prose")
	}
}
