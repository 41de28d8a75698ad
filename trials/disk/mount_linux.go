//go:build linux && (amd64 || arm64)

package disk

import (
	"errors"
	"fmt"
	"io"
	"net/rpc"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// mountPoint names in the environment where Serve has to mount.
const mountPoint = "WELCOMED_FAULTY_DISK"

// Serve is for the start of a main function: in a process that [Mount] has
// started it serves the file system and does not return. A program must not
// serve the file that it maps: the garbage collector would wait for a page that
// waits for the garbage collector.
func Serve() {
	dir := os.Getenv(mountPoint)
	if dir == "" {
		return
	}
	if err := serve(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func serve(dir string) error {
	root := &filesystem{}
	mounted, err := fs.Mount(dir, root, &fs.Options{MountOptions: fuse.MountOptions{
		FsName: "faulty", Name: "faulty", DirectMount: true, MaxWrite: 1 << 20, DisableXAttrs: true,
	}})
	if err != nil {
		return err
	}
	calls := rpc.NewServer()
	if err := calls.RegisterName("Disk", &control{root}); err != nil {
		return err
	}
	calls.ServeConn(pipe{os.Stdin, os.Stdout}) // until the other end is closed
	// A store that has failed may not have closed its file, and a process with mounts of
	// its own (unshare --mount) may have this one too. For both it ends with this process:
	// the package would wait until nobody has it.
	if syscall.Unmount(dir, syscall.MNT_DETACH) == nil {
		return nil
	}
	return mounted.Unmount() // by fusermount, without root
}

type pipe struct {
	io.ReadCloser
	io.WriteCloser
}

func (p pipe) Close() error { return errors.Join(p.ReadCloser.Close(), p.WriteCloser.Close()) }

// A control has the disk break, from another process.
type control struct{ disk *filesystem }

// Break has the disk fail from now on as fault says, and begins a new journal.
func (c *control) Break(fault Fault, _ *struct{}) error {
	c.disk.mu.Lock()
	defer c.disk.mu.Unlock()
	c.disk.fault, c.disk.ops, c.disk.journal = fault, 0, nil
	return nil
}

// Mend has the disk work again, and goes on with the journal.
func (c *control) Mend(struct{}, *struct{}) error {
	c.disk.mu.Lock()
	defer c.disk.mu.Unlock()
	c.disk.fault = Fault{}
	return nil
}

func (c *control) Ops(_ struct{}, n *int) error {
	c.disk.mu.Lock()
	defer c.disk.mu.Unlock()
	*n = c.disk.ops
	return nil
}

func (c *control) Journal(_ struct{}, ops *[]Op) error {
	c.disk.mu.Lock()
	defer c.disk.mu.Unlock()
	*ops = c.disk.journal
	return nil
}

// A Disk is mounted at Dir.
type Disk struct {
	Dir    string
	server *exec.Cmd
	calls  *rpc.Client
}

// Mount mounts an empty disk at a directory. It starts this program again, whose
// main function has to call [Serve].
func Mount(dir string) (*Disk, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	d := &Disk{Dir: dir, server: exec.Command(program)}
	d.server.Env = append(os.Environ(), mountPoint+"="+dir)
	said := &lastWords{}
	d.server.Stderr = said
	in, err := d.server.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := d.server.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := d.server.Start(); err != nil {
		return nil, err
	}
	d.calls = rpc.NewClient(pipe{out, in})
	if err := d.Break(Fault{}); err != nil {
		ended := d.server.Wait()
		return nil, fmt.Errorf("mount with FUSE: %w, %w: %s", err, ended, said)
	}
	return d, nil
}

// lastWords keeps the end of what a process says.
type lastWords struct{ text []byte }

func (w *lastWords) Write(p []byte) (int, error) {
	w.text = append(w.text, p...)
	w.text = w.text[max(0, len(w.text)-1000):]
	return len(p), nil
}

func (w *lastWords) String() string { return string(w.text) }

// Unmount takes the disk away. Whoever has a file of it open can do nothing with it then.
func (d *Disk) Unmount() error {
	_ = d.calls.Close()
	ended := make(chan error, 1)
	go func() { ended <- d.server.Wait() }()
	select {
	case err := <-ended:
		return err
	case <-time.After(10 * time.Second):
		return errors.Join(errors.New("the disk does not go away"), d.server.Process.Kill())
	}
}

// Break has the disk fail from now on as fault says, and begins a new journal.
func (d *Disk) Break(fault Fault) error { return d.calls.Call("Disk.Break", fault, &struct{}{}) }

// Mend has the disk work again.
func (d *Disk) Mend() error { return d.calls.Call("Disk.Mend", struct{}{}, &struct{}{}) }

// Ops returns how many operations there were since Break.
func (d *Disk) Ops() (n int, err error) {
	err = d.calls.Call("Disk.Ops", struct{}{}, &n)
	return n, err
}

// Journal returns the operations since Break.
func (d *Disk) Journal() (ops []Op, err error) {
	err = d.calls.Call("Disk.Journal", struct{}{}, &ops)
	return ops, err
}
