//go:build linux && (amd64 || arm64)

package disk_test

import (
	"os/exec"
	"testing"
	"time"

	"welcomed/trials/disk"
)

// A disk goes away although a process with mounts of its own, which another test on the
// machine may have started meanwhile, has it mounted too.
func TestADiskThatIsMountedElsewhereTooGoesAway(t *testing.T) {
	d, err := disk.Mount(t.TempDir())
	if err != nil {
		t.Skipf("a file system cannot be served with FUSE here: %v", err)
	}
	other := exec.Command("unshare", "--mount", "--propagation", "private", "sh", "-c", "echo; exec sleep 60")
	out, err := other.StdoutPipe()
	if err == nil {
		err = other.Start()
	}
	if err != nil {
		t.Fatal(err, d.Unmount())
	}
	defer other.Wait()
	defer other.Process.Kill()
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Skipf("no process can have mounts of its own here: %v", d.Unmount())
	}
	begun := time.Now()
	if err := d.Unmount(); err != nil {
		t.Error(err)
	}
	t.Logf("it took %s", time.Since(begun))
}
