package main

import (
	"context"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"
)

// A diskPattern is a way to write and sync, to see what the disk itself does.
type diskPattern struct {
	name  string
	write func(f *os.File, page func() int64) error
}

const (
	diskFile = 64 << 20 // bytes
	diskPage = 4096
)

var diskPatterns = []diskPattern{
	{"4 KiB, fdatasync", func(f *os.File, page func() int64) error {
		return writeSync(f, page(), diskPage)
	}},
	// What bbolt does for one commit: the pages that changed, then a meta page.
	{"8 KiB, fdatasync, 4 KiB, fdatasync", func(f *os.File, page func() int64) error {
		if err := writeSync(f, page(), 2*diskPage); err != nil {
			return err
		}
		return writeSync(f, 0, diskPage)
	}},
}

var diskBlock = make([]byte, 2*diskPage)

func writeSync(f *os.File, at int64, size int) error {
	if _, err := f.WriteAt(diskBlock[:size], at); err != nil {
		return err
	}
	return fdatasync(f)
}

// measureDisk returns how often per second each pattern is done in dir, by one
// writer, at random places of a file whose blocks exist.
func measureDisk(ctx context.Context, dir string, d time.Duration) ([]float64, error) {
	path := filepath.Join(dir, "disk")
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	defer os.Remove(path)
	defer f.Close()
	if _, err := f.Write(make([]byte, diskFile)); err != nil {
		return nil, err
	}
	if err := f.Sync(); err != nil {
		return nil, err
	}
	page := func() int64 { return rand.Int64N(diskFile/diskPage-1) * diskPage }
	rates := make([]float64, len(diskPatterns))
	for i, p := range diskPatterns {
		n, took, err := drive(ctx, 1, math.MaxInt, 0, d, func(int) error { return p.write(f, page) })
		if err != nil {
			return nil, err
		}
		rates[i] = perSecond(n, took)
	}
	return rates, nil
}

func perSecond(n int, took time.Duration) float64 { return float64(n) / took.Seconds() }
