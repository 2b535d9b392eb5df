package statuspage

import (
	"mime"
	"strconv"
	"strings"
)

// Format is a form in which the page's content is sent.
type Format uint8

// The formats, the one first that is sent to those who take any.
const (
	HTML Format = iota
	JSON
	Events
	formats
)

var formatNames = [formats]string{HTML: "html", JSON: "json", Events: "events"}

var mediaTypes = [formats]string{HTML: "text/html", JSON: "application/json", Events: "text/event-stream"}

// ParseFormat returns the format with this name.
func ParseFormat(name string) (Format, bool) {
	for format, known := range formatNames {
		if name == known {
			return Format(format), true
		}
	}
	return HTML, false
}

// Accepted returns the format that the values of an Accept field prefer. Those
// that name none get the page.
func Accepted(values []string) Format {
	best, quality := HTML, 0.0
	for format, mediaType := range mediaTypes {
		if q := acceptance(values, mediaType); q > quality {
			best, quality = Format(format), q
		}
	}
	return best
}

// acceptance returns how much a media type is wanted: by the most specific of the
// ranges that match it (RFC 9110, section 12.5.1).
func acceptance(values []string, mediaType string) (quality float64) {
	kind, _, _ := strings.Cut(mediaType, "/")
	specific := 0
	for _, value := range values {
		for item := range strings.SplitSeq(value, ",") {
			name, parameters, err := mime.ParseMediaType(item)
			if err != nil {
				continue
			}
			how := 0
			switch name {
			case mediaType:
				how = 3
			case kind + "/*":
				how = 2
			case "*/*":
				how = 1
			}
			if how <= specific {
				continue
			}
			specific, quality = how, 1
			if q, given := parameters["q"]; given {
				if quality, err = strconv.ParseFloat(q, 64); err != nil {
					quality = 0
				}
			}
		}
	}
	return quality
}
