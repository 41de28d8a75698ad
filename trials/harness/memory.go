package harness

import (
	"fmt"
	"os"
	"strings"
)

// Memory is what a process takes, in bytes. What it has mapped of files is not its own:
// the system takes it away where there is no room.
type Memory struct {
	Peak, Resident int64
	Own, Mapped    int64 // of what is resident
}

// MemoryOf reads the memory of a process. Linux only.
func MemoryOf(pid int) (m Memory, err error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return m, err
	}
	for line := range strings.Lines(string(status)) {
		for name, value := range map[string]*int64{"VmHWM": &m.Peak, "VmRSS": &m.Resident, "RssAnon": &m.Own, "RssFile": &m.Mapped} {
			var kib int64
			if _, err := fmt.Sscanf(line, name+": %d kB", &kib); err == nil {
				*value = kib << 10
			}
		}
	}
	return m, nil
}
