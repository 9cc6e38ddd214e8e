package tests

import (
	"fmt"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// jailVariable makes the test binary turn into the program named by its
// arguments, locked up as a container runtime does: in the root directory that
// the variable names, read-only, as user 65532, without any capability.
const jailVariable = "TOKEN_SIDECAR_JAIL"

// enterJail does not return. The process must have a mount namespace of its own.
func enterJail() {
	runtime.LockOSThread() // capabilities belong to threads
	fail := func(what string, err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, "jail:", what, err)
			os.Exit(70)
		}
	}
	dir := os.Getenv(jailVariable)
	fail("private", unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
	fail("bind", unix.Mount(dir, dir, "", unix.MS_BIND, ""))
	fail("read-only", unix.Mount("", dir, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV, ""))
	fail("chroot", unix.Chroot(dir))
	fail("chdir", unix.Chdir("/"))
	for capability := range uintptr(unix.CAP_LAST_CAP + 1) {
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, capability, 0, 0, 0); err != unix.EINVAL {
			fail("drop", err)
		}
	}
	fail("no new privileges", unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
	fail("groups", syscall.Setgroups(nil))
	fail("group", syscall.Setgid(65532))
	fail("user", syscall.Setuid(65532)) // drops the capabilities themselves
	var env []string
	for _, entry := range os.Environ() {
		if len(entry) > 8 && entry[:8] == "SIDECAR_" {
			env = append(env, entry)
		}
	}
	fail("exec", syscall.Exec("/token-sidecar", append([]string{"/token-sidecar"}, os.Args[1:]...), env))
}
