package harness

import (
	"net"
	"testing"
)

func TestAFreeAddressIsHeldForThisProcess(t *testing.T) {
	given := make(map[int]bool)
	for range 100 {
		a, err := FreeAddress()
		if err != nil {
			t.Fatal(err)
		}
		if given[a.Port] {
			t.Fatalf("port %d twice", a.Port)
		}
		if given[a.Port] = true; a.Port >= firstEphemeral() {
			t.Errorf("port %d may be an outgoing connection's: they begin at %d", a.Port, firstEphemeral())
		}
		if hold(a) {
			t.Errorf("port %d is given out again", a.Port)
		}
		l, err := net.ListenTCP("tcp", a)
		if err != nil {
			t.Fatal(err)
		}
		_ = l.Close()
	}
}

func TestAnAddressThatSomebodyUsesIsNotFree(t *testing.T) {
	a, err := FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	other := &net.TCPAddr{IP: a.IP, Port: a.Port + 1} // the lock, at which this process listens
	if hold(other) {
		t.Errorf("port %d is free", other.Port)
	}
}
