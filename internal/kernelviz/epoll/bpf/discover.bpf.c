/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Finds epoll instances, and says what the files are that they watch.
 */
#include "eventpoll.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/*
 * The kinds of file that we tell apart, by their struct file_operations: the
 * loader opens one of each and learns the address (program learn). The numbers
 * are wire.FileType.
 */
#define FILE_TYPES 16
u64 fops[FILE_TYPES];

#define FILE_SOCKET 1
#define FILE_PIPE 2
#define FILE_EPOLL 6
#define FILE_TTY 10
#define FILE_OTHER 11
/* No wire.FileType: a terminal's other end has file_operations of its own. */
#define FILE_PTS 15

#define S_IFMT 00170000
#define S_IFIFO 0010000
#define S_IFSOCK 0140000

struct learn_args {
	s32 fd; /* of the calling process */
	u32 pad;
	u64 fops;
};

static __always_inline u64 file_of(u64 files, s32 fd)
{
	u64 fdt = 0, table = 0, file = 0;
	u32 max_fds = 0;

	if (!files)
		return 0;
	READ(fdt, struct files_struct, files, fdt);
	READ(max_fds, struct fdtable, fdt, max_fds);
	if ((u32)fd >= max_fds)
		return 0;
	READ(table, struct fdtable, fdt, fd);
	bpf_probe_read_kernel(&file, sizeof(file), (void *)(table + 8ULL * (u32)fd));
	return file;
}

SEC("syscall")
int learn(struct learn_args *a)
{
	u64 task = bpf_get_current_task(), files = 0, file = 0;

	READ(files, struct task_struct, task, files);
	file = file_of(files, a->fd);
	a->fops = 0;
	if (file)
		READ(a->fops, struct file, file, f_op);
	return 0;
}

/* One (process, fd) that is an epoll instance; mirrored by rawTarget in Go. */
struct target {
	u64 ep;
	u64 file;
	u64 task;
	u64 start_time;
	u32 pid;
	s32 fd;
	u32 refcount; /* 0 if this kernel has none */
	u32 tid;
	char comm[16];
};

/* Keeps the struct in the object's BTF, for bpf2go. */
const struct target *target_layout __attribute__((unused));

SEC("iter/task_file")
int discover(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;

	if (!task || !file)
		return 0;
	if ((u64)file->f_op != fops[FILE_EPOLL])
		return 0;
	struct target t = {};
	struct task_struct *leader = task->group_leader;
	t.ep = (u64)file->private_data;
	t.file = (u64)file;
	t.task = (u64)task;
	t.start_time = task->start_time;
	t.pid = task->tgid;
	t.tid = task->pid;
	t.fd = ctx->fd;
	if (bpf_core_field_exists(struct eventpoll, refcount))
		READ(t.refcount, struct eventpoll, t.ep, refcount.refs.counter);
	bpf_probe_read_kernel_str(t.comm, sizeof(t.comm),
				  (void *)((u64)leader + bpf_core_field_offset(struct task_struct, comm)));
	bpf_seq_write(ctx->meta->seq, &t, sizeof(t));
	return 0;
}

#define MAX_OWNERS 64
#define MAX_DESCRIBED 512

struct owner {
	u64 task;
	u64 start_time;
};

/* What one item watches; mirrored by rawFile in Go. */
struct described {
	/* In: as the snapshot had them. */
	u64 item;
	u64 file;
	s32 fd;
	/* Out. */
	u32 stale;  /* 1: the item is not on this file any more */
	u32 owner;  /* pid of the first owner whose fd is this file; 0 none */
	u32 refs;   /* references to the file */
	u64 nested; /* struct eventpoll, of an epoll file */
	u64 inode;
	u8 type;
	u8 family;
	u8 sock;
	u8 state;
	u8 proto;
	u8 pad[3];
	u16 lport;
	u16 rport;
	u32 pad2;
	u8 laddr[16];
	u8 raddr[16];
	char name[24];
};

struct described_rows {
	struct owner owners[MAX_OWNERS];
	struct described items[MAX_DESCRIBED];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct described_rows);
} description SEC(".maps");

struct describe_args {
	u32 count;
	u32 owners;
};

struct describing {
	struct described_rows *d;
	u32 count;
	u32 owners;
};

#define AF_UNIX 1
#define AF_INET 2
#define AF_INET6 10

static __always_inline void describe_socket(struct described *o, u64 file)
{
	u64 socket = 0, sk = 0;
	u16 port = 0;

	READ(socket, struct file, file, private_data);
	READ(o->sock, struct socket, socket, type);
	READ(sk, struct socket, socket, sk);
	if (!sk)
		return;
	READ(o->family, struct sock, sk, __sk_common.skc_family);
	READ(o->state, struct sock, sk, __sk_common.skc_state);
	READ(o->proto, struct sock, sk, sk_protocol);
	if (o->family == AF_INET || o->family == AF_INET6) {
		READ(o->lport, struct sock, sk, __sk_common.skc_num);
		READ(port, struct sock, sk, __sk_common.skc_dport);
		o->rport = __builtin_bswap16(port);
	}
	if (o->family == AF_INET) {
		bpf_probe_read_kernel(o->laddr, 4, (void *)(sk + bpf_core_field_offset(struct sock, __sk_common.skc_rcv_saddr)));
		bpf_probe_read_kernel(o->raddr, 4, (void *)(sk + bpf_core_field_offset(struct sock, __sk_common.skc_daddr)));
	}
	if (o->family == AF_INET6) {
		bpf_probe_read_kernel(o->laddr, 16, (void *)(sk + bpf_core_field_offset(struct sock, __sk_common.skc_v6_rcv_saddr)));
		bpf_probe_read_kernel(o->raddr, 16, (void *)(sk + bpf_core_field_offset(struct sock, __sk_common.skc_v6_daddr)));
	}
	if (o->family == AF_UNIX) {
		u64 addr = 0;
		READ(addr, struct unix_sock, sk, addr);
		if (addr)
			bpf_probe_read_kernel_str(o->name, sizeof(o->name),
						  (void *)(addr + bpf_core_field_offset(struct unix_address, name) +
							   bpf_core_field_offset(struct sockaddr_un, sun_path)));
	}
}

static long describe_one(u32 i, struct describing *s)
{
	if (i >= s->count || i >= MAX_DESCRIBED)
		return 1;
	struct described *o = &s->d->items[i];
	u64 item = o->item, file = 0, op = 0, inode = 0, dentry = 0, name = 0;
	u32 mode = 0;
	s32 fd = 0;

	READ(file, struct epitem, item, ffd.file);
	READ(fd, struct epitem, item, ffd.fd);
	o->stale = file != o->file || fd != o->fd;
	o->owner = 0;
	if (o->stale)
		return 0;
	READ(op, struct file, file, f_op);
	READ(inode, struct file, file, f_inode);
	READ(mode, struct inode, inode, i_mode);
	READ(o->inode, struct inode, inode, i_ino);
	if (bpf_core_field_exists(struct file, f_ref)) {
		READ(o->refs, struct file, file, f_ref.refcnt.counter);
		o->refs++;
	} else {
		o->refs = BPF_CORE_READ((struct file___f_count *)file, f_count.counter);
	}
	o->type = FILE_OTHER;
	if ((mode & S_IFMT) == S_IFSOCK)
		o->type = FILE_SOCKET;
	else if ((mode & S_IFMT) == S_IFIFO)
		o->type = FILE_PIPE;
	else
		for (int k = 1; k < FILE_TYPES; k++)
			if (fops[k] && fops[k] == op) {
				o->type = k == FILE_PTS ? FILE_TTY : k;
				break;
			}
	o->nested = 0;
	if (o->type == FILE_EPOLL)
		READ(o->nested, struct file, file, private_data);
	o->name[0] = 0;
	if (o->type == FILE_SOCKET) {
		describe_socket(o, file);
	} else if (o->type == FILE_OTHER) {
		READ(dentry, struct file, file, f_path.dentry);
		READ(name, struct dentry, dentry, d_name.name);
		bpf_probe_read_kernel_str(o->name, sizeof(o->name), (void *)name);
	}
	for (int k = 0; k < MAX_OWNERS; k++) {
		if (k >= s->owners)
			break;
		struct owner *w = &s->d->owners[k];
		u64 start = 0, files = 0;
		READ(start, struct task_struct, w->task, start_time);
		if (start != w->start_time)
			continue;
		READ(files, struct task_struct, w->task, files);
		if (file_of(files, fd) == file) {
			READ(o->owner, struct task_struct, w->task, tgid);
			break;
		}
	}
	return 0;
}

SEC("syscall")
int describe(struct describe_args *a)
{
	u32 zero = 0;
	struct described_rows *d = bpf_map_lookup_elem(&description, &zero);

	if (!d)
		return 0;
	struct describing s = {.d = d, .count = a->count, .owners = a->owners};
	bpf_loop(MAX_DESCRIBED, describe_one, &s, 0);
	return 0;
}

struct peek_args {
	u64 addr;
	u32 size; /* at most the size of description.items */
	s32 err;
};

/* Copies one struct into description.items, for the card that shows its fields. */
SEC("syscall")
int peek(struct peek_args *a)
{
	u32 zero = 0, size = a->size;
	struct described_rows *d = bpf_map_lookup_elem(&description, &zero);

	if (!d)
		return 0;
	if (size > sizeof(d->items))
		size = sizeof(d->items);
	a->err = bpf_probe_read_kernel(d->items, size, (void *)a->addr);
	return 0;
}
