package main

import (
	"os"
	"sync"
	"time"

	"welcomed/trials/harness"
)

// A memory is what of a process is resident, in MB: its own, and what it has
// mapped of files.
type memory struct{ anon, file float64 }

func readMemory() (memory, error) {
	m, err := harness.MemoryOf(os.Getpid())
	return memory{float64(m.Own) / 1e6, float64(m.Mapped) / 1e6}, err
}

// watchMemory looks at the memory until peak is called, which returns the most
// that it was. The load's own is part of it.
func watchMemory() (peak func() memory) {
	const every = 20 * time.Millisecond
	var most memory
	var wg sync.WaitGroup
	stop := make(chan struct{})
	wg.Go(func() {
		for {
			if m, err := readMemory(); err == nil && m.anon > most.anon {
				most = m
			}
			select {
			case <-stop:
				return
			case <-time.After(every):
			}
		}
	})
	return func() memory {
		close(stop)
		wg.Wait()
		return most
	}
}
