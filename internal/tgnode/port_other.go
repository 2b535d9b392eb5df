//go:build !linux

package tgnode

import (
	"errors"
	"net"
)

func reservePort(string) (release func(), err error) { return nil, errors.ErrUnsupported }

func setBacklog(*net.TCPListener, int) error { return errors.ErrUnsupported }
