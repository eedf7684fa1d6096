package rig

import (
	"fmt"
	"net"
	"os"
	"sync"
	"testing"
)

// Below the range from which the kernel gives ports to clients (32768 and up), so that no connection of another test takes a port
// between the look at it and the agent's listening.
const firstPort, lastPort = 21000, 32000

var ports struct {
	sync.Mutex
	next int
}

// freePorts are for HTTP, RPC and serf; no two agents of a test program get the same.
func freePorts(t testing.TB) (free [3]int) {
	t.Helper()
	ports.Lock()
	defer ports.Unlock()
	if ports.next == 0 {
		// Another test program on this machine is likely to begin elsewhere.
		ports.next = firstPort + os.Getpid()*31%(lastPort-firstPort)
	}
	for found, tried := 0, 0; found < len(free); tried++ {
		if tried > lastPort-firstPort {
			t.Fatalf("no free ports from %d to %d", firstPort, lastPort)
		}
		port := ports.next
		if ports.next++; ports.next > lastPort {
			ports.next = firstPort
		}
		if unused(port) {
			free[found] = port
			found++
		}
	}
	return free
}

// unused says whether TCP and UDP (serf speaks both) are free.
func unused(port int) bool {
	address := fmt.Sprintf("127.0.0.1:%d", port)
	stream, err := net.Listen("tcp", address)
	if err != nil {
		return false
	}
	defer stream.Close()
	packets, err := net.ListenPacket("udp", address)
	if err != nil {
		return false
	}
	return packets.Close() == nil
}
