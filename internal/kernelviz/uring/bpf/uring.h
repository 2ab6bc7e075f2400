/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * include/linux/io_uring_types.h, io_uring/{poll,timeout,sqpoll,rsrc}.h: the
 * structs behind a ring. Whole branches of these differ between kernels: a
 * struct with a suffix is another kernel's layout of the same, and which one
 * holds is asked of BTF by bpf_core_field_exists.
 */
#ifndef KERNELVIZ_URING_H
#define KERNELVIZ_URING_H

#include "../../kernel/bpf/core.h"

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct hlist_node {
	struct hlist_node *next;
};

struct hlist_head {
	struct hlist_node *first;
};

/* Heads and tails lie on cache lines of their own before 6.6. */
struct io_uring {
	u32 head;
	u32 tail;
};

struct io_uring_cqe {
	u64 user_data;
	s32 res;
	u32 flags;
};

struct io_uring_sqe {
	u8 opcode;
	u8 flags;
	s32 fd;
	u64 user_data;
};

struct io_rings {
	struct io_uring sq;
	struct io_uring cq;
	u32 sq_ring_mask;
	u32 cq_ring_mask;
	u32 sq_ring_entries;
	u32 cq_ring_entries;
	u32 sq_dropped;
	atomic_t sq_flags;
	u32 cq_flags;
	u32 cq_overflow;
	struct io_uring_cqe cqes[0];
};

struct io_hash_bucket {
	struct hlist_head list;
};

struct io_hash_table {
	struct io_hash_bucket *hbs;
	unsigned int hash_bits;
};

struct io_wq_work_node {
	struct io_wq_work_node *next;
};

struct io_submit_state {
	struct io_wq_work_node free_list;
};

struct io_rsrc_data {
	unsigned int nr;
};

struct io_file_table {
	struct io_rsrc_data data;
};

struct io_sq_data {
	struct task_struct *thread;
	unsigned int sq_thread_idle; /* jiffies */
	int sq_cpu;
	u64 work_time; /* µs; not on every kernel */
};

struct io_ring_ctx {
	unsigned int flags;
	struct io_rings *rings;
	u32 *sq_array;
	struct io_uring_sqe *sq_sqes;
	unsigned int cached_sq_head;
	unsigned int sq_entries;
	unsigned int cached_cq_tail;
	unsigned int cq_entries;
	struct io_file_table file_table;
	struct io_rsrc_data buf_table;
	struct io_submit_state submit_state;
	struct io_hash_table cancel_table;
	struct list_head timeout_list;
	struct list_head ltimeout_list;
	struct list_head cq_overflow_list;
	struct io_sq_data *sq_data;
	unsigned int nr_req_allocated; /* since 6.16 or so */
};

/* Tables of registered resources before 6.13, and the second table of polls
 * while requests under uring_lock had one of their own (until 6.10). */
struct io_ring_ctx___tables {
	unsigned int nr_user_files;
	unsigned int nr_user_bufs;
	struct io_hash_table cancel_table_locked;
};

struct io_cqe {
	u64 user_data;
	s32 res;
	s32 fd; /* until the request completes; then flags */
};

struct io_cmd_data {
	u8 data[56];
};

struct io_poll {
	u32 events; /* EPOLLONESHOT unless multishot */
};

struct async_poll {
	struct io_poll poll;
};

struct io_timeout {
	struct list_head list;
};

struct io_timeout_data {
	u32 flags; /* IORING_TIMEOUT_* */
};

struct io_kiocb {
	struct file *file;
	struct io_cmd_data cmd; /* struct io_poll, struct io_timeout, … */
	u8 opcode;
	u64 flags; /* 32 bits before 6.10 */
	struct io_cqe cqe;
	struct io_ring_ctx *ctx;
	struct io_wq_work_node comp_list;
	struct hlist_node hash_node;
	atomic_t poll_refs;
	struct async_poll *apoll;
	void *async_data;
};

struct super_block {
	unsigned long s_magic;
};

struct inode___sb {
	struct super_block *i_sb;
};

struct sched_entity {
	u64 sum_exec_runtime;
};

struct thread_info {
	u32 cpu;
};

struct task_struct___uring {
	unsigned int flags;
	unsigned int __state;
	struct thread_info thread_info;
	struct sched_entity se;
};

/* A struct thread_info without cpu: older kernels keep it in the task. */
struct task_struct___cpu {
	unsigned int cpu;
};

#pragma clang attribute pop

/* include/uapi/linux/io_uring.h */
#define IORING_SETUP_SQE128 (1U << 10)
#define IORING_SETUP_CQE32 (1U << 11)
#define IORING_SETUP_NO_SQARRAY (1U << 16)
#define IORING_SETUP_SQ_REWIND (1U << 20)
#define IORING_TIMEOUT_MULTISHOT (1U << 6)
#define IORING_CQE_F_MORE (1U << 1)

#define IORING_OP_POLL_ADD 6
#define IOSQE_FIXED_FILE (1U << 0)

/*
 * io_uring/poll.c: the references in io_kiocb.poll_refs. Who takes the first,
 * as the file's wake-up does, queues task work, and whoever runs that drops
 * them: while there are none, the request waits for its file.
 */
#define IO_POLL_REF_MASK 0x3fffffffU

/*
 * Opcodes whose sqe.fd is an open file (needs_file in io_uring/opdef.c), as a
 * bit each: only of these io_kiocb.cqe.fd is set.
 */
#define BIT(n) (1ULL << (n))
#define FILE_OPS                                                                  \
	(BIT(1) | BIT(2) | BIT(3) | BIT(4) | BIT(5) | BIT(6) | BIT(8) | BIT(9) |  \
	 BIT(10) | BIT(13) | BIT(16) | BIT(17) | BIT(22) | BIT(23) | BIT(24) |    \
	 BIT(26) | BIT(27) | BIT(30) | BIT(33) | BIT(34) | BIT(40) | BIT(41) |    \
	 BIT(43) | BIT(46) | BIT(47) | BIT(48) | BIT(49) | BIT(54) | BIT(55) |    \
	 BIT(56) | BIT(57) | BIT(58) | BIT(59) | BIT(60) | BIT(61))

/* include/uapi/linux/eventpoll.h */
#define EPOLLONESHOT (1U << 30)

static __always_inline bool takes_file(u8 op)
{
	return op == 64 || (op < 64 && (FILE_OPS & BIT(op & 63)));
}

struct fd_table {
	u64 fds; /* struct file ** */
	u32 max;
};

static __always_inline struct fd_table fds_of(u64 task)
{
	struct fd_table t = {};
	u64 files = 0, fdt = 0;

	READ(files, struct task_struct, task, files);
	READ(fdt, struct files_struct, files, fdt);
	READ(t.fds, struct fdtable, fdt, fd);
	READ(t.max, struct fdtable, fdt, max_fds);
	return t;
}

/*
 * sqe.fd of a request in flight, -1 unknown. Its place in io_kiocb.cqe is that
 * of the flags of a CQE too, which a multishot request writes over it: it is
 * believed if that fd is the request's file. A slot of registered files is
 * believed if the caller knows that no CQE was posted.
 */
static __always_inline s32 fd_of(u64 req, u8 op, u8 sqe_flags, const struct fd_table *t, bool posted)
{
	u64 file = 0, there = 0;
	s32 fd = -1;

	if (!takes_file(op))
		return -1;
	READ(fd, struct io_kiocb, req, cqe.fd);
	if (sqe_flags & IOSQE_FIXED_FILE)
		return posted ? -1 : fd;
	if (fd < 0 || (u32)fd >= t->max)
		return -1;
	READ(file, struct io_kiocb, req, file);
	bpf_probe_read_kernel(&there, sizeof(there), (void *)(t->fds + 8ULL * (u32)fd));
	return file && file == there ? fd : -1;
}

/* io_kiocb.flags: IOSQE_* in the low byte, REQ_F_* above. */
static __always_inline u64 flags_of(u64 req)
{
	u64 flags = 0;

	READ(flags, struct io_kiocb, req, flags);
	return bpf_core_field_size(struct io_kiocb, flags) == 4 ? (u32)flags : flags;
}

#endif
