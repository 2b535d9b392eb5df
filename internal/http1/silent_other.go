//go:build !linux

package http1

import "syscall"

// limitSilence does nothing: how long a silent machine is waited for is the system's
// matter here.
func limitSilence(syscall.RawConn, bool) {}
