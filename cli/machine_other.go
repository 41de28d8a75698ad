//go:build !linux

package cli

// What is not known of other machines is 0.
func peakMemory() int64      { return 0 }
func machineMemory() int64   { return 0 }
func freeSpace(string) int64 { return 0 }
func loadAverage() float64   { return 0 }
