package cli

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"

	"welcomed/safefile"
)

// A benchDisk says how fast the disk is, at best, for a store that commits like bbolt and
// writes one small thing: pages, fdatasync, the meta page, fdatasync.
type benchDisk struct {
	Commits   int     `json:"commits"`
	PerSecond float64 `json:"commits_per_second"`
	P50       float64 `json:"p50_seconds"`
	P99       float64 `json:"p99_seconds"`
	Longest   float64 `json:"max_seconds"`
}

const (
	diskFile  = 16 << 20 // written before, so that no space has to be found meanwhile
	diskPage  = 4 << 10
	diskTime  = time.Second / 2
	diskTimes = 500
)

// measureDisk commits for a while on a file of its own in dir.
func measureDisk(ctx context.Context, dir string) (_ *benchDisk, err error) {
	dir, err = safefile.TemporaryDirectory(dir, "welcomed-bench-disk-")
	if err != nil {
		return nil, fmt.Errorf("measure the disk of --dir: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	f, err := safefile.Create(filepath.Join(dir, "file"), safefile.Private)
	if err != nil {
		return nil, fmt.Errorf("measure the disk of --dir: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	content := make([]byte, diskFile)
	_, _ = rand.Read(content) // never fails
	if _, err := f.Write(content); err != nil {
		return nil, fmt.Errorf("measure the disk of --dir: %w", err)
	}
	if err := f.Sync(); err != nil {
		return nil, fmt.Errorf("measure the disk of --dir: %w", err)
	}
	var took []time.Duration
	start := time.Now()
	for len(took) < diskTimes && time.Since(start) < diskTime && ctx.Err() == nil {
		began := time.Now()
		if err := diskCommit(f, content[:2*diskPage]); err != nil {
			return nil, fmt.Errorf("measure the disk of --dir: %w", err)
		}
		took = append(took, time.Since(began))
	}
	return newBenchDisk(took, time.Since(start)), ctx.Err()
}

func diskCommit(f *os.File, pages []byte) error {
	const places = diskFile / diskPage
	at := int64(2+mathrand.IntN(places-4)) * diskPage
	if _, err := f.WriteAt(pages, at); err != nil {
		return err
	}
	if err := fdatasync(f); err != nil {
		return err
	}
	if _, err := f.WriteAt(pages[:diskPage], int64(mathrand.IntN(2))*diskPage); err != nil {
		return err
	}
	return fdatasync(f)
}

func newBenchDisk(took []time.Duration, elapsed time.Duration) *benchDisk {
	if len(took) == 0 {
		return nil
	}
	slices.Sort(took)
	return &benchDisk{
		Commits:   len(took),
		PerSecond: float64(len(took)) / elapsed.Seconds(),
		P50:       took[len(took)/2].Seconds(),
		P99:       took[len(took)*99/100].Seconds(),
		Longest:   took[len(took)-1].Seconds(),
	}
}
