package tigergraph

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/environment"
)

// checkInternalPort refuses a port that the image publishes, or the site listens on:
// what it shows is for nobody outside.
func checkInternalPort(value string) error {
	if err := environment.CheckPort(value); err != nil {
		return err
	}
	port := strings.TrimPrefix(value, ":")
	public := []string{"80", "443"}
	for _, site := range strings.FieldsFunc(os.Getenv("SITE"), func(r rune) bool { return r == ' ' || r == ',' }) {
		if address, err := httpcaddyfile.ParseAddress(site); err == nil && address.Port != "" {
			public = append(public, address.Port)
		}
	}
	if slices.Contains(public, port) {
		return fmt.Errorf("'%s' is a port that clients reach: choose one that is not published, such as :9180", value)
	}
	return nil
}

// checkStatusPort is for the status page, which is a site of its own.
func checkStatusPort(value string) error {
	if value == os.Getenv("METRICS_ADDRESS") {
		return fmt.Errorf("'%s' is METRICS_ADDRESS too: choose another port", value)
	}
	return checkInternalPort(value)
}

// checkAdmin wants an address that the admin endpoint can listen on.
func checkAdmin(value string) error {
	if err := environment.CheckWord(value); err != nil {
		return err
	}
	if value == "off" {
		return errors.New("without the admin endpoint the health check fails and nothing can be drained; 'localhost:2019' is reached from inside the container alone")
	}
	address, err := caddy.ParseNetworkAddress(value)
	if err != nil {
		return err
	}
	if file, isSocket := strings.CutPrefix(value, "unix/"); isSocket && path.IsAbs(file) {
		return environment.CheckSocket(file)
	}
	if _, _, err := net.SplitHostPort(value); err != nil || address.PortRangeSize() != 1 || address.StartPort == 0 {
		return fmt.Errorf("'%s' is no address to listen on, such as localhost:2019", value)
	}
	return nil
}
