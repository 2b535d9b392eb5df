//go:build !unix

package http1

import "syscall"

// Supported is whether idle connections can be looked at. Without that too many
// requests would be sent on connections that the server has closed.
const Supported = false

func (*connection) prepareToLook() {}

func (*connection) isQuiet() bool { return false }

func (*Guard) prepareToReceive() {}

func look(syscall.RawConn) (something, end bool) { return false, false }
