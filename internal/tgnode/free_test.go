package tgnode

import (
	"net"
	"runtime"
	"testing"
)

func TestAFreePortIsGivenToOneCaller(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("this needs names of sockets that end with a process, which Linux has, as CI has")
	}
	address, err := FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	// As another process asks for it, too.
	if claimed, err := claim(port); claimed || err != nil {
		t.Errorf("the port is given once more: %t, %v", claimed, err)
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatalf("the port is not free: %v", err)
	}
	_ = listener.Close()
}
