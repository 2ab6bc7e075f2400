// Package iouring is the io_uring interface of Linux in Go, without liburing
// and without cgo: the structs and constants of include/uapi/linux/io_uring.h,
// their names as strace prints them, and a ring made of raw system calls.
package iouring
