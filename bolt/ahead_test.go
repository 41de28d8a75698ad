package bolt

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"welcomed/delivery"
	"welcomed/mls/mlstest"
)

// A backup holds a read transaction for as long as the disk takes. Meanwhile the
// file grows to many times its size, and nobody waits.
func TestAFileGrowsWhileSomebodyReads(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the file would be as large as what is mapped")
	}
	s := openTest(t)
	s.db.NoSync = true
	reader, err := s.db.Begin(false)
	must(t, err)
	grown := make(chan error, 1)
	go func() {
		for i := range 40 {
			id := delivery.DeviceID{User: delivery.UserID(fmt.Sprint(i)), Name: "phone"}
			_, err := s.Publish(t.Context(), delivery.Unauthenticated(), id, bulky(16))
			if err != nil {
				grown <- err
				return
			}
		}
		grown <- nil
	}()
	select {
	case err = <-grown:
	case <-time.After(time.Minute):
		t.Error("the writer waits for a reader")
	}
	_ = reader.Rollback()
	must(t, err)
	if size := s.fileSize.Load(); size < 32<<20 {
		t.Errorf("the file has %d bytes: it did not grow", size)
	}
}

func bulky(n int) (items []delivery.NewKeyPackage) {
	for range n {
		item := randomItems(1)[0]
		item.Bytes = mlstest.Random(60 << 10)
		items = append(items, item)
	}
	return items
}

// What is mapped ahead is part of the address space only.
func TestWhatIsMappedAheadTakesNoRoom(t *testing.T) {
	for maxSize, want := range map[int64]int64{0: 1 << 28, 1 << 20: 1 << 20} {
		if got := int64(mapAhead(maxSize)); runtime.GOOS != "windows" && got < want || maxSize > 0 && got > maxSize {
			t.Errorf("with a limit of %d, %d bytes are mapped", maxSize, got)
		}
	}
	s := openTest(t)
	publishOne(t, s, phone)
	info, err := s.file.Stat()
	must(t, err)
	if info.Size() > 32<<20 {
		t.Errorf("the file has %d bytes", info.Size())
	}
}
