package address

import (
	"errors"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestWhatPeopleCallANodeIsDialled(t *testing.T) {
	for _, test := range [][3]string{ // what is written, what is dialled, what a proxy's configuration has
		{"m1", "m1:14240", "m1:14240"},
		{"M1.Example.COM", "m1.example.com:14240", "m1.example.com:14240"},
		{"m1.example.com.", "m1.example.com.:14240", "m1.example.com.:14240"},
		{"m1:9000", "m1:9000", "m1:9000"},
		{"m1:014240", "m1:14240", "m1:14240"},
		{"tg_node-1", "tg_node-1:14240", "tg_node-1:14240"},
		{"1", "1:14240", "1:14240"},
		{"10.0.0.3", "10.0.0.3:14240", "10.0.0.3:14240"},
		{"2001:DB8::5", "[2001:db8::5]:14240", "[2001:db8::5]:14240"},
		{"[2001:db8::4]", "[2001:db8::4]:14240", "[2001:db8::4]:14240"},
		{"[2001:db8:0:0::6]:1", "[2001:db8::6]:1", "[2001:db8::6]:1"},
		{"fe80::1%eth0", "[fe80::1%eth0]:14240", "[fe80::1%eth0]:14240"},
		{"https://[fe80::1%25eth0]:443", "[fe80::1%eth0]:443", "https://[fe80::1%25eth0]:443"},
		{"https://m1", "m1:14240", "https://m1:14240"},
		{"HTTPS://M1:443", "m1:443", "https://m1:443"},
		{"http://m1", "m1:14240", "http://m1:14240"},
		{"h2c://m1:1", "m1:1", "h2c://m1:1"},
		{"tcp/m1", "m1:14240", "m1:14240"},
		{"tcp4/m1", "tcp4/m1:14240", "tcp4/m1:14240"},
		{"TCP6/[::1]:7", "tcp6/[::1]:7", "tcp6/[::1]:7"},
		{"unix//run/Node.sock", "unix//run/Node.sock", "unix//run/Node.sock"},
		{"unix/@name", "unix/@name", "unix/@name"},
		{"localhost:22151-22153", "localhost:22151-22153", "localhost:22151-22153"},
		{"bücher.example", "bücher.example:14240", "bücher.example:14240"},
		{"{env.NODE}", "{env.NODE}", "{env.NODE}"},
		{"{env.HOST}:9000", "{env.HOST}:9000", "{env.HOST}:9000"},
		{"M1:{env.PORT}", "m1:{env.PORT}", "m1:{env.PORT}"},
		{"{env.NAME}.Example.com", "{env.NAME}.example.com:14240", "{env.NAME}.example.com:14240"},
		{"{file./run/secrets/a@b}", "{file./run/secrets/a@b}", "{file./run/secrets/a@b}"},
	} {
		a, err := Parse(test[0])
		if err != nil {
			t.Errorf("%s: %v", test[0], err)
			continue
		}
		if a.Dial() != test[1] || a.String() != test[2] {
			t.Errorf("%s is dialled as %s and written %s, want %s and %s", test[0], a.Dial(), a, test[1], test[2])
		}
	}
}

func TestWhatIsNoAddressIsRefusedWithWhatToWrite(t *testing.T) {
	for _, test := range [][2]string{ // what is written, what is said of it
		{"", "must not be empty"},
		{" ", "is not an address"},
		{"m1,", "separated by blanks alone, so write 'm1'"},
		{"m1;", "separated by blanks alone, so write 'm1'"},
		{"m1,m2;m3", "so write 'm1 m2 m3'"},
		{"m1 m2", "write each node as a word of its own"},
		{"m1\nm2", "write each node as a word of its own"},
		{"m1\u00a0m2", "write each node as a word of its own"},
		{"m\xff", "is not an address"},
		{"m1:0", "a number from 1 to 65535, not '0'"},
		{"m1:99999", "a number from 1 to 65535, not '99999'"},
		{"m1:0x1", "a number from 1 to 65535, not '0x1'"},
		{"m1:-1", "a number from 1 to 65535, not ''"},
		{"m1:+1", "a number from 1 to 65535, not '+1'"},
		{"m1:0-5", "a number from 1 to 65535, not '0'"},
		{"m1:5-", "a number from 1 to 65535, not ''"},
		{"m1:9-5", "ends before it begins: write '5-9'"},
		{"m1:1-1001", "a range of 1001 ports, and may have 1000"},
		{"m1:", "no port behind it: write 'm1'"},
		{":14240", "has no host: write 'localhost:14240'"},
		{":", "no port behind it"},
		{"http://user:pw@m1", "must have no credentials"},
		{"user:{env.PW}@m1", "must have no credentials"},
		{"user@m1", "must have no credentials"},
		{"m1/studio", "must have no path: write 'm1'"},
		{"https://m1:1/studio?x", "must have no path: write 'https://m1:1'"},
		{"m1?x", "must have no path: write 'm1'"},
		{"m1#x", "must have no path: write 'm1'"},
		{"http://m1/", "must have no path: write 'http://m1'"},
		{"https://", "it has no host"},
		{"https:///x", "it has no host"},
		{"ftp://m1", "unsupported scheme"},
		{"wss://m1", "write https://"},
		{"ws://m1", "write http://"},
		{"udp/m1", "cannot be dialled by udp"},
		{"fd/3", "cannot be dialled by fd"},
		{"unix/", "write the path of its socket"},
		{"0]0", "write brackets around an IPv6 address alone"},
		{"[m1]", "write brackets around an IPv6 address alone"},
		{"[::1", "write brackets around an IPv6 address alone"},
		{"[::1]x", "write brackets around an IPv6 address alone"},
		{"[]:1", "write brackets around an IPv6 address alone"},
		{"[[::1]]", "write brackets around an IPv6 address alone"},
		{"m1:1:2", "'m1:1:2' is not an IPv6 address"},
		{"10.0.0.256", "neither an IP address nor the name of a host"},
		{"10.0.3", "neither an IP address nor the name of a host"},
		{"m1..example", "not the name of a host"},
		{".", "not the name of a host"},
		{"-m1", "not the name of a host"},
		{"m$i", "not the name of a host"},
		{"m1*", "not the name of a host"},
		{strings.Repeat("a", 64), "not the name of a host"},
		{"{env.NODE", "a brace without its counterpart"},
		{"env.NODE}", "a brace without its counterpart"},
		{"{{env.NODE}}", "a brace without its counterpart"},
	} {
		a, err := Parse(test[0])
		if err == nil || !strings.Contains(err.Error(), test[1]) {
			t.Errorf("%q is %v, %v; want %q", test[0], a, err, test[1])
		} else if strings.Contains(err.Error(), "pw") {
			t.Errorf("the error shows the password: %v", err)
		}
	}
}

func TestANodeIsFoundByWhatItIsCalled(t *testing.T) {
	index := NewIndex([]string{"m1:14240", "tcp4/m2:14240", "m3.example.com.:9000", "localhost:22151", "localhost:22152", "[fd00::1]:14240", "10.0.0.1:14240", "unix//run/a.sock", "{env.NODE}", "m4:1", "m4:14240"})
	for _, test := range [][]string{ // what is written, who is meant
		{"m1", "m1:14240"},
		{"M1:14240", "m1:14240"},
		{"https://m1", "m1:14240"},
		{"m1.", "m1:14240"},
		{"tcp/m1", "m1:14240"},
		{"tcp6/m1", "m1:14240"},
		{"m2", "tcp4/m2:14240"},
		{"tcp4/m2", "tcp4/m2:14240"},
		{"m3.example.com", "m3.example.com.:9000"},
		{"https://M3.example.com:9000", "m3.example.com.:9000"},
		{"localhost:22152", "localhost:22152"},
		{"localhost:22151-22152", "localhost:22151", "localhost:22152"},
		{"FD00:0::1", "[fd00::1]:14240"},
		{"::ffff:10.0.0.1", "10.0.0.1:14240"},
		{"unix//run//a.sock", "unix//run/a.sock"},
		{"{env.NODE}", "{env.NODE}"},
		{"m4", "m4:14240"},
		{"m4:1", "m4:1"},
	} {
		if found, err := index.Find(test[0]); err != nil || !slices.Equal(found, test[1:]) {
			t.Errorf("%s is %q, %v; want %q", test[0], found, err, test[1:])
		}
	}
	for _, test := range []struct {
		text, says string
		as         any
	}{
		{"m9", "there is no node 'm9:14240'; the nodes are m1:14240, ", new(UnknownError)},
		{"m1:1", "there is no node 'm1:1'", new(UnknownError)},
		{"localhost", "'localhost' may be any of localhost:22151, localhost:22152: write the port", new(AmbiguousError)},
		{"localhost:22151-22153", "there is no node 'localhost:22153'", new(UnknownError)},
	} {
		if _, err := index.Find(test.text); err == nil || !strings.Contains(err.Error(), test.says) || !errors.As(err, test.as) {
			t.Errorf("%s: %v, want %q", test.text, err, test.says)
		}
	}
	if _, err := NewIndex(nil).Find("m1"); err == nil || err.Error() != "there is no node 'm1:14240', nor any other" {
		t.Error(err)
	}
}

func TestANodeWrittenTwiceIsNoticed(t *testing.T) {
	for _, second := range []string{"m1", "M1", "m1.", "m1:14240", "https://m1", "tcp/m1", "tcp4/m1", "m1:14239-14241"} {
		if NewIndex([]string{"m1"}).Add(second) {
			t.Errorf("%s is another node than m1", second)
		}
	}
	if !NewIndex([]string{"m1", "m1:1", "m2"}).Add("m3") {
		t.Error("m3 was there already")
	}
}

func TestARangeIsItsPorts(t *testing.T) {
	a, err := Parse("tcp4/localhost:22151-22153")
	if err != nil {
		t.Fatal(err)
	}
	var dials []string
	for _, one := range a.Expand() {
		dials = append(dials, one.Dial())
	}
	if want := []string{"tcp4/localhost:22151", "tcp4/localhost:22152", "tcp4/localhost:22153"}; !slices.Equal(dials, want) {
		t.Errorf("%q, want %q", dials, want)
	}
}

// What is taken for an address is complete, is read as itself again, and means
// itself. What is refused shows no credentials.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"", "m1", "m1:1", "[::1]", "::1", "[::1]:1", "https://m1", "http://", "unix//a", "tcp/m1", "fd/3", "{env.A}", "a/b", "://", "m1:", "[", "]", "[[a]]",
		"https://[::1]", "user:pw@{m}", "!{env.AAAAA@}", "0]0", "[0]::", "[]:1", "m1:1-3", "fe80::1%eth0", "https://[fe80::1%25a]", "user:pw@m1", "{a}{b}:{c}", "\ue000", "m1,m2", "M1.",
	} {
		f.Add(seed)
	}
	placeholder := regexp.MustCompile(`\{[^{}]*\}`) // an '@' in there is no end of credentials
	f.Fuzz(func(t *testing.T, text string) {
		a, err := Parse(text)
		if err != nil {
			hasCredentials := strings.Contains(placeholder.ReplaceAllString(text, ""), "@") && !strings.HasPrefix(strings.ToLower(text), "unix")
			if at := strings.LastIndexByte(text, '@'); at > 8 && hasCredentials && strings.Contains(err.Error(), text[:at]) {
				t.Errorf("%q: %v", text, err)
			}
			return
		}
		again, err := Parse(a.String())
		if err != nil || again.String() != a.String() || !again.SameAs(a) {
			t.Errorf("%q became %q, and that %q: %v", text, a, again, err)
		}
		if found, err := NewIndex([]string{a.Dial()}).Find(text); err != nil || len(found) != len(a.Expand()) {
			t.Errorf("%q is not found by itself: %q, %v", text, found, err)
		}
	})
}
