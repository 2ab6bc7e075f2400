package kernel

// sources says where the kernel defines the structs that lessons show. It is
// the same file in every kernel that this project reads (5.15 to 6.18).
var sources = map[string]string{
	"eventpoll":        "fs/eventpoll.c",
	"epitem":           "fs/eventpoll.c",
	"eppoll_entry":     "fs/eventpoll.c",
	"epoll_filefd":     "fs/eventpoll.c",
	"epoll_event":      "include/uapi/linux/eventpoll.h",
	"file":             "include/linux/fs.h",
	"files_struct":     "include/linux/fdtable.h",
	"fdtable":          "include/linux/fdtable.h",
	"rb_node":          "include/linux/rbtree_types.h",
	"rb_root":          "include/linux/rbtree_types.h",
	"rb_root_cached":   "include/linux/rbtree_types.h",
	"list_head":        "include/linux/types.h",
	"wait_queue_head":  "include/linux/wait.h",
	"wait_queue_entry": "include/linux/wait.h",
	"sock":             "include/net/sock.h",
	"socket":           "include/linux/net.h",
	"pipe_inode_info":  "include/linux/pipe_fs_i.h",
	"eventfd_ctx":      "fs/eventfd.c",
	"task_struct":      "include/linux/sched.h",
	"fd_set":           "include/uapi/linux/posix_types.h",
	"pollfd":           "include/uapi/asm-generic/poll.h",
	"poll_wqueues":     "include/linux/poll.h",
}

// Source is the file of the kernel's tree that defines a struct; empty if it is
// not known.
func Source(name string) string { return sources[name] }
