package response

import "net/http"

// Before is what a response's header held before a node's was added to it.
type Before struct {
	fields [8]field
	count  int
	more   []field
}

// field is a header field, and how many values it had.
type field struct {
	name   string
	values int
}

// Note takes down what a header holds.
func (b *Before) Note(header http.Header) {
	for name, values := range header {
		f := field{name, len(values)}
		if b.count < len(b.fields) {
			b.fields[b.count] = f
			b.count++
		} else {
			b.more = append(b.more, f)
		}
	}
}

// values returns how many values a field had.
func (b *Before) values(name string) int {
	for _, f := range b.fields[:b.count] {
		if f.name == name {
			return f.values
		}
	}
	for _, f := range b.more {
		if f.name == name {
			return f.values
		}
	}
	return 0
}

// Split leaves in a header what a node has added to it for an informational
// response, and returns what the final one is to have: what was there before, and
// the cookies that isOurs knows, which nobody else may set.
func (b *Before) Split(header http.Header, isOurs func(cookie string) bool) (final http.Header) {
	final = make(http.Header, len(header))
	for name, values := range header {
		before := min(b.values(name), len(values))
		mine, added := values[:before:before], values[before:]
		if name == "Set-Cookie" {
			var foreign []string
			for _, cookie := range added {
				if isOurs(cookie) {
					mine = append(mine, cookie)
				} else {
					foreign = append(foreign, cookie)
				}
			}
			added = foreign
		}
		if len(mine) > 0 || len(values) == 0 { // which keeps Go from adding the field
			final[name] = mine
		}
		if len(added) > 0 {
			header[name] = added
		} else {
			delete(header, name)
		}
	}
	return final
}
