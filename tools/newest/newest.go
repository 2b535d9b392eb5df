// Package newest requires the newest Caddy that the plugin is tested with.
//
// The plugin's own go.mod requires the lowest that works, because whoever builds
// Caddy with the plugin inherits that file. What is built and tested in a clone
// (cmd/caddy, cmd/demo, bench, the tests) is of the newest instead: go.work joins
// this module to the plugin's, and of two required versions Go takes the higher.
// With GOWORK=off everything is of the lowest.
package newest

import _ "github.com/caddyserver/caddy/v2" // so that it stays required
