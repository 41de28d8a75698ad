package harness

import "syscall"

// Apart returns the attributes of a child in a process group of its own that
// runs as another user, unless that is nil.
func Apart(as *syscall.Credential) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: as, Setpgid: true, Pdeathsig: syscall.SIGQUIT}
}
