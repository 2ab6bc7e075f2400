/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The few kernel types that our programs read, by the names the kernel gives
 * them. Only the members that are used are declared: CO-RE finds each one by
 * name in the running kernel's BTF and patches the offset in at load time, so
 * order, padding and everything left out do not matter.
 */
#ifndef KERNELVIZ_CORE_H
#define KERNELVIZ_CORE_H

typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;
typedef signed char __s8;
typedef short __s16;
typedef int __s32;
typedef long long __s64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;
typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;
typedef __s32 s32;
typedef __s64 s64;
typedef _Bool bool;
#define true 1
#define false 0
#define NULL ((void *)0)

/* include/uapi/linux/bpf.h */
enum bpf_map_type {
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_RINGBUF = 27,
};
enum {
	BPF_F_MMAPABLE = 1U << 10,
	BPF_RB_NO_WAKEUP = 1U << 0,
	BPF_RB_FORCE_WAKEUP = 1U << 1,
	BPF_RB_AVAIL_DATA = 0,
};

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct list_head {
	struct list_head *next, *prev;
};

struct rb_node {
	unsigned long __rb_parent_color;
	struct rb_node *rb_right;
	struct rb_node *rb_left;
};

struct rb_root {
	struct rb_node *rb_node;
};

struct rb_root_cached {
	struct rb_root rb_root;
	struct rb_node *rb_leftmost;
};

typedef struct {
	int counter;
} atomic_t;

typedef struct {
	s64 counter;
} atomic64_t;

typedef struct refcount_struct {
	atomic_t refs;
} refcount_t;

struct mutex {
	atomic64_t owner;
};

struct wait_queue_head {
	struct list_head head;
};

struct wait_queue_entry {
	unsigned int flags;
	void *private;
	struct list_head entry;
};

struct qstr {
	const unsigned char *name;
};

struct dentry {
	struct qstr d_name;
};

struct path {
	struct dentry *dentry;
};

struct inode {
	unsigned short i_mode;
	unsigned long i_ino;
};

typedef struct {
	atomic64_t refcnt;
} file_ref_t;

struct file {
	const void *f_op;
	struct inode *f_inode;
	void *private_data;
	struct path f_path;
	file_ref_t f_ref; /* since 6.13; holds references - 1 */
};

/* struct file before f_ref. */
struct file___f_count {
	atomic64_t f_count;
};

struct fdtable {
	unsigned int max_fds;
	struct file **fd;
};

struct files_struct {
	struct fdtable *fdt;
};

struct task_struct {
	int pid;
	int tgid;
	u64 start_time;
	char comm[16];
	struct files_struct *files;
	struct task_struct *group_leader;
};

struct in6_addr {
	union {
		u8 u6_addr8[16];
	} in6_u;
};

struct sock_common {
	__be32 skc_daddr;
	__be32 skc_rcv_saddr;
	__be16 skc_dport;
	u16 skc_num;
	unsigned short skc_family;
	volatile unsigned char skc_state;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
};

struct sock {
	struct sock_common __sk_common;
	u16 sk_protocol;
};

struct socket {
	short type;
	struct sock *sk;
};

struct sockaddr_un {
	unsigned short sun_family;
	char sun_path[108];
};

struct unix_address {
	int len;
	struct sockaddr_un name[0];
};

struct unix_sock {
	struct unix_address *addr;
};

/* Context of SEC("iter/task_file"), kernel/bpf/task_iter.c. */
struct seq_file;

struct bpf_iter_meta {
	struct seq_file *seq;
};

struct bpf_iter__task_file {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
	u32 fd;
	struct file *file;
};

#pragma clang attribute pop

/*
 * bpf_rdonly_cast gives a typed pointer that may be read directly; a fault
 * reads zero (kernel/bpf/helpers.c). It came with 6.2, so it is weak: where it
 * is missing the branches that use it are never taken, and
 * bpf_probe_read_kernel does the work.
 */
extern void *bpf_rdonly_cast(const void *obj, __u32 btf_id) __ksym __weak;

/* use_cast is set by the loader: the tier with kfunc reads was chosen. */
const volatile bool use_cast = false;

#define CAST(type, p) \
	((type *)bpf_rdonly_cast((const void *)(p), bpf_core_type_id_kernel(type)))

/*
 * READ reads one member through any number of pointers, in either tier. p is
 * copied first: BPF_CORE_READ would relocate the members of our own structs.
 */
#define READ(dst, type, p, member)                                              \
	do {                                                                    \
		u64 __p = (u64)(p);                                             \
		if (use_cast && bpf_rdonly_cast)                                \
			(dst) = (typeof(dst))CAST(type, __p)->member;           \
		else                                                            \
			(dst) = (typeof(dst))BPF_CORE_READ((type *)__p, member); \
	} while (0)

#endif
