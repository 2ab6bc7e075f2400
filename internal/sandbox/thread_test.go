package sandbox

import (
	"os"
	"runtime"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// However many threads go elsewhere, the first one stays where it was.
func TestApartLeavesTheFirstThread(t *testing.T) {
	before, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 200 {
		all.Add(1)
		go func() {
			apart(func() {
				defer all.Done()
				if unix.Gettid() == unix.Getpid() {
					t.Error("it runs on the first thread")
				}
				if os.Geteuid() == 0 {
					if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
						t.Errorf("unshare: %v", err)
					}
				}
			})
			runtime.Gosched()
		}()
	}
	all.Wait()
	after, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	if after != before {
		t.Errorf("the process is in %s, was in %s", after, before)
	}
}
