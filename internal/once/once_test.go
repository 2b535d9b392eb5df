package once

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// A request's body that ends by itself is the body.
func FuzzEndingBody(f *testing.F) {
	f.Add([]byte("body"), int64(4), 3)
	f.Add([]byte("body"), int64(9), 1)
	f.Add([]byte(""), int64(1), 0)
	f.Fuzz(func(t *testing.T, content []byte, length int64, piece int) {
		if length <= 0 {
			return
		}
		r := &http.Request{ProtoMajor: 1, ContentLength: length, Body: io.NopCloser(bytes.NewReader(content))}
		endBody(r)
		endBody(r) // before a second attempt
		var got []byte
		buffer := make([]byte, 1+piece&0xff)
		for {
			n, err := r.Body.Read(buffer)
			got = append(got, buffer[:n]...)
			if err != nil {
				break
			}
		}
		if want := content[:min(int64(len(content)), length)]; !bytes.Equal(got, want) {
			t.Errorf("%q of length %d became %q", content, length, got)
		}
	})
}

// What is readied looks the same on the wire.
func TestWhatIsReadiedLooksAsItDid(t *testing.T) {
	for _, method := range []string{"", http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodOptions} {
		for _, body := range []string{"", "content"} {
			write := func(ready bool) string {
				r, err := http.NewRequest(method, "http://node:14240/gsql/v1/drop-all", strings.NewReader(body))
				if err != nil {
					t.Fatal(err)
				}
				if body == "" {
					r.Body = nil
				}
				if ready {
					Ready(r, false)
					Ready(r, false) // before a second attempt
				}
				var written bytes.Buffer
				if err := r.Write(&written); err != nil {
					t.Fatal(err)
				}
				return written.String()
			}
			if got, want := write(true), write(false); got != want {
				t.Errorf("%s %q was sent as\n%q\nand not as\n%q", method, body, got, want)
			}
		}
	}
}

func TestOnlyWhatMayBeRepeatedIsLeftAsItIs(t *testing.T) {
	for _, test := range []struct {
		method, path string
		left         bool
	}{
		{http.MethodGet, "/restpp/version", true},
		{http.MethodHead, "/restpp/version", true},
		{http.MethodGet, "/gsql/v1/drop-all", false},
		{http.MethodDelete, "/restpp/version", false},
	} {
		r, err := http.NewRequest(test.method, "http://node:14240"+test.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		Ready(r, false)
		if left := r.Body == nil; left != test.left || !IsEmpty(r) {
			t.Errorf("%s %s: left as it was: %t", test.method, test.path, left)
		}
	}
}

func TestAReadOverHTTP3HasABodyOnlyIfOneComes(t *testing.T) {
	for _, content := range []string{"", "content"} {
		r := httptest.NewRequest(http.MethodGet, "/restpp/version", io.NopCloser(strings.NewReader(content)))
		r.ProtoMajor, r.ContentLength = 3, -1
		Settle(r)
		if IsEmpty(r) != (content == "") {
			t.Errorf("%q: empty %t", content, IsEmpty(r))
		}
		if got, err := io.ReadAll(r.Body); string(got) != content || err != nil {
			t.Errorf("%q became %q, %v", content, got, err)
		}
	}
}
