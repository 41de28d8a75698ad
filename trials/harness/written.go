package harness

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

// BytesWritten returns how many bytes this process has caused to be written to a disk.
// Linux only.
func BytesWritten() (n int64, err error) {
	io, err := os.ReadFile("/proc/self/io")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(io)) {
		if _, err := fmt.Sscanf(line, "write_bytes: %d", &n); err == nil {
			return n, nil
		}
	}
	return 0, errors.New("/proc/self/io does not say what was written")
}
