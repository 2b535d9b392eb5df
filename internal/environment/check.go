package environment

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// CheckWord refuses what would be more than one word of a Caddyfile.
func CheckWord(value string) error {
	if i := strings.IndexFunc(value, func(r rune) bool { return r <= ' ' || r == utf8.RuneError || strings.ContainsRune("{}\"`\\#", r) }); i >= 0 {
		return fmt.Errorf("%q does not belong in '%s'", value[i:i+1], value)
	}
	if strings.HasPrefix(value, "<<") { // which begins a text of several lines
		return fmt.Errorf("%q does not belong in '%s'", "<<", value)
	}
	return nil
}

// Words splits a list. What separates them is the check's affair, for Caddy gets
// the list as it is.
func Words(value string) ([]string, error) {
	list := strings.Fields(value)
	if len(list) == 0 {
		return nil, errors.New("there is nothing but blanks in it")
	}
	if strings.ContainsAny(value, "\r\n") {
		return nil, errors.New("write it on one line")
	}
	for _, word := range list {
		if err := CheckWord(word); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// IsHostName reports whether a name is one that a site can have, with a wildcard or
// without.
func IsHostName(name string) bool { return hostName.MatchString(name) }

var hostName = regexp.MustCompile(`^(\*\.)?[\pL\pN_]([\pL\pN_-]*[\pL\pN_])?(\.[\pL\pN_]([\pL\pN_-]*[\pL\pN_])?)*$`)

// CheckEmail refuses what is no e-mail address.
func CheckEmail(value string) error {
	if err := CheckWord(value); err != nil {
		return err
	}
	if before, after, found := strings.Cut(value, "@"); !found || before == "" || after == "" {
		return fmt.Errorf("'%s' is no e-mail address", value)
	}
	return nil
}

// CheckURL refuses what is no URL of the web.
func CheckURL(value string) error {
	if err := CheckWord(value); err != nil {
		return err
	}
	address, err := url.Parse(value)
	if err != nil || address.Scheme != "https" && address.Scheme != "http" || address.Host == "" {
		return fmt.Errorf("'%s' is no URL", value)
	}
	return nil
}

// CheckFiles returns a check for so many readable files.
func CheckFiles(count int) func(value string) error {
	return func(value string) error {
		list, err := Words(value)
		if err != nil {
			return err
		}
		if len(list) != count {
			return fmt.Errorf("it must name %d file(s), not %d", count, len(list))
		}
		for _, file := range list {
			if !path.IsAbs(file) {
				return fmt.Errorf("'%s' must be a whole path, from / on", file)
			}
			if _, err := os.ReadFile(file); err != nil { //nolint:gosec // the administrator names it
				return err
			}
		}
		return nil
	}
}

// CheckTLS refuses what names no certificate.
func CheckTLS(value string) error {
	if value == "internal" {
		return nil
	}
	if err := CheckFiles(2)(value); err != nil {
		return fmt.Errorf("it must be 'internal', or a certificate's file and its key's: %w", err)
	}
	return nil
}

// CheckRanges refuses what is no list of IP ranges.
func CheckRanges(value string) error {
	if strings.Contains(value, ",") {
		return errors.New("separate the ranges by blanks")
	}
	list, err := Words(value)
	if err != nil {
		return err
	}
	for _, one := range list {
		_, prefixErr := netip.ParsePrefix(one)
		_, addressErr := netip.ParseAddr(one)
		if one != "private_ranges" && prefixErr != nil && addressErr != nil {
			return fmt.Errorf("'%s' is no range: expected one such as 10.0.0.0/8, or private_ranges", one)
		}
	}
	return nil
}

// CheckPort refuses a host: in the address of a site it is no address to listen on,
// but the one host that is answered.
func CheckPort(value string) error {
	port, found := strings.CutPrefix(value, ":")
	if number, err := strconv.ParseUint(port, 10, 16); !found || err != nil || number == 0 {
		return fmt.Errorf("'%s' must be a port alone, such as :9180", value)
	}
	return nil
}

// CheckLogLevel refuses what is no level of a log.
func CheckLogLevel(value string) error {
	levels := []string{"DEBUG", "INFO", "WARN", "ERROR"}
	if !slices.Contains(levels, strings.ToUpper(value)) {
		return fmt.Errorf("'%s' is none of %s", value, strings.Join(levels, ", "))
	}
	return nil
}

// linesOfTheUser are the variables of the image that hold lines of a Caddyfile, which
// only the whole Caddyfile can say whether they are right.
var linesOfTheUser = []string{"TIGERGRAPH_OPTIONS", "COOKIE_OPTIONS", "SITE_DIRECTIVES", "GLOBAL_OPTIONS"}

// BlameLines names in an error the variable whose lines are to blame for it: the one
// without which the Caddyfile would be right, or would have another fault. The
// function adapts the Caddyfile without a variable.
func BlameLines(err error, adaptWithout func(name string) error) error {
	for _, name := range linesOfTheUser {
		if os.Getenv(name) == "" {
			continue
		}
		if without := adaptWithout(name); without == nil || withoutLine(without) != withoutLine(err) {
			return fmt.Errorf("the environment variable %s is wrong: %w", name, err)
		}
	}
	return err
}

// withoutLine returns an error's text without the line at its end, which another
// variable's lines move.
func withoutLine(err error) string {
	text, _, _ := strings.Cut(err.Error(), ", at ")
	return text
}
