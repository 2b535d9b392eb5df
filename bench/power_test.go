package main

import (
	"errors"
	"net"
	"testing"
	"time"
)

func TestANodeThatIsSwitchedOffTakesNoConnectionUntilItIsOnAgain(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	supply := &power{listener: listener.(*net.TCPListener)}
	for range 2 {
		if err := supply.off(); err != nil {
			t.Fatal(err)
		}
		if conn, err := net.DialTimeout("tcp", listener.Addr().String(), dialPatience); err == nil {
			conn.Close()
			t.Error("it takes a connection")
		} else if timeout := net.Error(nil); !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Errorf("dialling it: %v", err)
		}
		if err := supply.on(); err != nil {
			t.Fatal(err)
		}
		conn, err := net.DialTimeout("tcp", listener.Addr().String(), startTimeout)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = supply.listener.SetDeadline(time.Now().Add(startTimeout))
		for { // those that filled the queue come first
			accepted, err := listener.Accept()
			if err != nil {
				t.Fatal(err)
			}
			_ = accepted.Close()
			if accepted.RemoteAddr().String() == conn.LocalAddr().String() {
				break
			}
		}
	}
}
