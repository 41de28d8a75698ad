package harness

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"sync"
)

// The ports that are given out: above those of known services and those that browsers
// refuse (the last is 10080), and below those that the system gives to outgoing connections. Where the system does not say where these begin,
// that is 49152 by the standard (RFC 6335) and 32768 on Linux.
const (
	firstPort     = 11_000
	ephemeralPort = 32_768
)

// FreeAddress returns an address of the loopback interface that nobody uses. It is this
// process's until that ends: servers may be started there one after the other. No outgoing
// connection takes the port meanwhile, and neither does another process that calls this.
func FreeAddress() (*net.TCPAddr, error) {
	pairs := (firstEphemeral() - firstPort) / 2
	for range 1000 {
		address := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: firstPort + 2*rand.IntN(pairs)}
		if hold(address) {
			return address, nil
		}
	}
	return nil, errors.New("no port of the loopback interface is free")
}

// locks are what hold has locked. A listener that nobody knows any more would be closed.
var (
	locksMu sync.Mutex
	locks   []net.Listener
)

// hold reports whether nobody uses the address, and keeps it for this process: it listens
// at the port above for as long as the process lives. That is the lock.
func hold(address *net.TCPAddr) bool {
	lock, err := net.ListenTCP("tcp", &net.TCPAddr{IP: address.IP, Port: address.Port + 1})
	if err != nil {
		return false
	}
	free, err := net.ListenTCP("tcp", address)
	if err != nil {
		_ = lock.Close()
		return false
	}
	_ = free.Close()
	locksMu.Lock()
	defer locksMu.Unlock()
	locks = append(locks, lock)
	return true
}

// firstEphemeral returns the first port that the system gives to outgoing connections. If
// that leaves no room, it is the usual one: then a port may be lost to a connection.
func firstEphemeral() int {
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	first := 0
	if err != nil {
		return ephemeralPort
	}
	if _, err := fmt.Sscan(string(text), &first); err != nil || first < firstPort+1000 {
		return ephemeralPort
	}
	return first
}
