/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Finds io_uring instances, and reads one as it is.
 *
 * Reading is a syscall program (BPF_PROG_RUN), not an iterator: a run costs one
 * system call and writes to a mapped array, where an iterator limited to one
 * process costs four, visits all of its files, and pipes its records through
 * a seq_file. Nothing is locked and no reference is held, so what is read may
 * be torn. Reads of freed memory cannot fault, and every loop is bounded. The
 * counters and the slots between them are read twice: if both are alike they
 * were so at the moment between (double collect).
 */
#include "uring.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define ESRCH 3
#define EBADF 9

#define ANON_INODE_FS_MAGIC 0x09041934

/* "[io_urin", the first eight bytes of the dentry's name. */
#define RING_NAME 0x6e6972755f6f695bULL

/* One (process, fd) that is a ring. */
struct target {
	u64 ctx;
	u64 file;
	u64 task;
	u64 start_time;
	u64 inode;
	u32 pid;
	u32 tid;
	s32 fd;
	u32 setup;
	u32 sq_entries;
	u32 cq_entries;
	u32 sq_head;
	u32 sq_tail;
	u32 cq_head;
	u32 cq_tail;
	char comm[16];
};

/* Keeps the struct in the object's BTF, for bpf2go. */
const struct target *target_layout __attribute__((unused));

struct counters {
	u32 sq_head;
	u32 sq_tail;
	u32 cq_head;
	u32 cq_tail;
};

static __always_inline void count(struct counters *c, u64 rings)
{
	READ(c->sq_head, struct io_rings, rings, sq.head);
	READ(c->sq_tail, struct io_rings, rings, sq.tail);
	READ(c->cq_head, struct io_rings, rings, cq.head);
	READ(c->cq_tail, struct io_rings, rings, cq.tail);
}

/*
 * The name alone would do for a file of the kernel's, but anybody can give a
 * file on disk that name: a ring's lies on the file system of anonymous inodes.
 */
static __always_inline bool is_ring(u64 file)
{
	u64 name = 0, inode = 0, magic = 0;
	char text[12] = {};

	u64 dentry = 0;
	READ(dentry, struct file, file, f_path.dentry);
	READ(name, struct dentry, dentry, d_name.name);
	bpf_probe_read_kernel_str(text, sizeof(text), (void *)name);
	if (*(u64 *)text != RING_NAME || text[8] != 'g' || text[9] != ']' || text[10])
		return false;
	READ(inode, struct file, file, f_inode);
	magic = BPF_CORE_READ((struct inode___sb *)inode, i_sb, s_magic);
	return magic == ANON_INODE_FS_MAGIC;
}

SEC("iter/task_file")
int discover(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;

	if (!task || !file || !is_ring((u64)file))
		return 0;
	struct target t = {};
	struct counters c = {};
	struct task_struct *leader = task->group_leader;
	u64 rings = 0;

	t.ctx = (u64)file->private_data;
	if (!t.ctx)
		return 0;
	t.file = (u64)file;
	t.task = (u64)task;
	t.start_time = task->start_time;
	t.inode = file->f_inode->i_ino;
	t.pid = task->tgid;
	t.tid = task->pid;
	t.fd = ctx->fd;
	READ(t.setup, struct io_ring_ctx, t.ctx, flags);
	READ(t.sq_entries, struct io_ring_ctx, t.ctx, sq_entries);
	READ(t.cq_entries, struct io_ring_ctx, t.ctx, cq_entries);
	READ(rings, struct io_ring_ctx, t.ctx, rings);
	count(&c, rings);
	t.sq_head = c.sq_head;
	t.sq_tail = c.sq_tail;
	t.cq_head = c.cq_head;
	t.cq_tail = c.cq_tail;
	bpf_probe_read_kernel_str(t.comm, sizeof(t.comm),
				  (void *)((u64)leader + bpf_core_field_offset(struct task_struct, comm)));
	bpf_seq_write(ctx->meta->seq, &t, sizeof(t));
	return 0;
}

#define MAX_LIST 512
#define MAX_OVERFLOW 4096
/* Requests on the list of free ones that are counted. */
#define MAX_FREE 4096
/* Steps over buckets and requests of a cancel table, which has 256 buckets at most. */
#define MAX_STEPS 4096

struct sqe {
	u32 index;
	u32 pad;
	u64 raw[8];
};

struct cqe {
	u64 raw[4];
};

struct request {
	u64 addr;
	u64 user_data;
	u64 flags;
	s32 fd;
	u8 op;
	u8 where; /* wire.Request* */
	u8 multishot;
	u8 pad;
};

#define REQUEST_ARMED 1
#define REQUEST_TASK_WORK 3
#define REQUEST_TIMEOUT 4

struct ring_lists {
	/* Here rather than on the stack, so that the verifier does not follow it. */
	u32 requests;
	u32 pad;
	struct sqe sqes[MAX_LIST];
	struct cqe cqes[MAX_LIST];
	struct request request[MAX_LIST];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct ring_lists);
} lists SEC(".maps");

/* What of struct ring this kernel has. */
enum {
	HAVE_TABLES = 1 << 0,
	HAVE_REQUESTS = 1 << 1,
	HAVE_ALLOCATED = 1 << 2,
	HAVE_WORK_TIME = 1 << 3,
};

/* Argument and result of a run. */
struct ring {
	/* Who is read: found by discover, checked before and after. */
	u64 task;
	u64 start_time;
	u64 file;
	u64 ctx;
	u64 inode;
	u32 tid;
	s32 fd;
	/* What was found. */
	s32 err; /* 0, -ESRCH: the task is gone, -EBADF: the fd is another file now */
	u32 have;
	u32 moved;
	u32 setup;
	u32 sq_entries;
	u32 cq_entries;
	u32 sq_head;
	u32 sq_tail;
	u32 cq_head;
	u32 cq_tail;
	u32 cached_sq_head;
	u32 cached_cq_tail;
	u32 sq_mask; /* of struct io_rings, as all until overflow_list */
	u32 cq_mask;
	u32 sq_ring_entries;
	u32 cq_ring_entries;
	u32 sq_flags;
	u32 cq_flags;
	u32 sq_dropped;
	u32 cq_overflow;
	u32 overflow_list;
	u32 overflow_more;
	u32 allocated;
	s32 in_flight; /* -1 unknown */
	u32 files;
	u32 buffers;
	u32 sqes;
	u32 cqes;
	u32 requests;
	u32 requests_more;
	u32 thread_pid;
	s32 thread_cpu;
	s32 thread_bound;
	u32 thread_idle; /* jiffies */
	u32 thread_state; /* task_struct.__state */
	u32 pad;
	u64 thread_total; /* ns */
	u64 thread_work;  /* µs */
	u64 ended;        /* bpf_ktime_get_ns */
	u64 spent;        /* ns */
};

/* The task still runs, and its fd is still this file, of this ring. */
static __always_inline int identify(struct ring *a)
{
	u32 tid = 0, max_fds = 0;
	u64 start = 0, files = 0, fdt = 0, table = 0, file = 0, private = 0, inode = 0, ino = 0;

	READ(tid, struct task_struct, a->task, pid);
	READ(start, struct task_struct, a->task, start_time);
	if (tid != a->tid || start != a->start_time)
		return -ESRCH;
	READ(files, struct task_struct, a->task, files);
	if (!files)
		return -ESRCH;
	READ(fdt, struct files_struct, files, fdt);
	READ(max_fds, struct fdtable, fdt, max_fds);
	READ(table, struct fdtable, fdt, fd);
	if ((u32)a->fd >= max_fds)
		return -EBADF;
	bpf_probe_read_kernel(&file, sizeof(file), (void *)(table + 8ULL * (u32)a->fd));
	if (!file || file != a->file)
		return -EBADF;
	READ(private, struct file, file, private_data);
	READ(inode, struct file, file, f_inode);
	READ(ino, struct inode, inode, i_ino);
	/* Addresses are used again, inode numbers are not. */
	return private == a->ctx && ino == a->inode ? 0 : -EBADF;
}

struct slots {
	struct ring_lists *out;
	u64 array;   /* sq_array, or 0 */
	u64 entries; /* sq_sqes, or io_rings.cqes */
	u32 first;   /* the counter's value at slot 0 of out */
	u32 mask;
	u32 stride;
	u32 again; /* 1: compare with what is there */
	u32 moved;
};

static long sqe_one(u32 i, struct slots *s)
{
	if (i >= MAX_LIST)
		return 1;
	struct sqe *out = &s->out->sqes[i];
	u32 index = (s->first + i) & s->mask;
	u64 raw[8] = {};

	if (s->array)
		bpf_probe_read_kernel(&index, sizeof(index), (void *)(s->array + 4ULL * index));
	/* An index past the end is dropped by the kernel: there is no SQE. */
	if (index <= s->mask)
		bpf_probe_read_kernel(raw, sizeof(raw), (void *)(s->entries + (u64)s->stride * index));
	if (!s->again) {
		out->index = index;
		__builtin_memcpy(out->raw, raw, sizeof(raw));
		return 0;
	}
	if (out->index != index)
		s->moved = 1;
	for (int k = 0; k < 8; k++)
		if (out->raw[k] != raw[k])
			s->moved = 1;
	return 0;
}

static long cqe_one(u32 i, struct slots *s)
{
	if (i >= MAX_LIST)
		return 1;
	struct cqe *out = &s->out->cqes[i];
	u64 raw[4] = {};
	u64 at = s->entries + (u64)s->stride * ((s->first + i) & s->mask);

	if (s->stride == 32)
		bpf_probe_read_kernel(raw, 32, (void *)at);
	else
		bpf_probe_read_kernel(raw, 16, (void *)at);
	if (!s->again) {
		__builtin_memcpy(out->raw, raw, sizeof(raw));
		return 0;
	}
	for (int k = 0; k < 4; k++)
		if (out->raw[k] != raw[k])
			s->moved = 1;
	return 0;
}

/* Appends a request to the list; false if it is no request of ctx, or one too many. */
static __always_inline bool add_request(struct ring_lists *out, u64 ctx, u64 req, u8 where, const struct fd_table *fds)
{
	u64 owner = 0, apoll = 0, data = 0;
	u32 events = 0, refs = 0, n = out->requests;

	READ(owner, struct io_kiocb, req, ctx);
	if (owner != ctx || n >= MAX_LIST)
		return false;
	/* Old verifiers lose the bound on the way: give it again, where the compiler cannot see it. */
	asm volatile("" : "+r"(n));
	struct request *r = &out->request[n & (MAX_LIST - 1)];
	r->addr = req;
	READ(r->user_data, struct io_kiocb, req, cqe.user_data);
	READ(r->op, struct io_kiocb, req, opcode);
	r->flags = flags_of(req);
	r->where = where;
	r->multishot = 0;
	r->fd = -1;
	if (where == REQUEST_TIMEOUT) {
		READ(data, struct io_kiocb, req, async_data);
		READ(events, struct io_timeout_data, data, flags);
		r->multishot = data && (events & IORING_TIMEOUT_MULTISHOT);
	} else {
		if (r->op == IORING_OP_POLL_ADD) {
			READ(events, struct io_poll, req + bpf_core_field_offset(struct io_kiocb, cmd), events);
			r->multishot = !(events & EPOLLONESHOT);
		} else {
			READ(apoll, struct io_kiocb, req, apoll);
			READ(events, struct async_poll, apoll, poll.events);
			r->multishot = apoll && !(events & EPOLLONESHOT);
		}
		r->fd = fd_of(req, r->op, (u8)r->flags, fds, r->multishot);
		/* It stays in the table until its task work has run. */
		if (bpf_core_field_exists(struct io_kiocb, poll_refs))
			READ(refs, struct io_kiocb, req, poll_refs.counter);
		if (refs & IO_POLL_REF_MASK)
			r->where = REQUEST_TASK_WORK;
	}
	out->requests = n + 1;
	return true;
}

/* A walk over all chains of a hash table, one bucket or request a step. */
struct walk {
	struct ring_lists *out;
	u64 ctx;
	u64 bucket;
	u64 node;
	struct fd_table fds; /* of the ring's owner */
	u32 buckets; /* left */
	u32 more;
	u32 done;
};

static long armed_one(u32 i, struct walk *w)
{
	if (!w->node) {
		if (!w->buckets) {
			w->done = 1;
			return 1;
		}
		READ(w->node, struct io_hash_bucket, w->bucket, list.first);
		w->bucket += bpf_core_type_size(struct io_hash_bucket);
		w->buckets--;
		return 0;
	}
	u64 node = w->node;
	READ(w->node, struct hlist_node, node, next);
	if (!add_request(w->out, w->ctx, node - bpf_core_field_offset(struct io_kiocb, hash_node), REQUEST_ARMED, &w->fds)) {
		/* The list is full, or the node left this chain and came to another. */
		w->more = 1;
		w->node = 0;
		return w->out->requests >= MAX_LIST;
	}
	return 0;
}

static __always_inline void read_armed(struct ring *a, struct ring_lists *out, u64 table)
{
	u32 bits = 0;
	struct walk w = {.out = out, .ctx = a->ctx, .fds = fds_of(a->task)};

	READ(w.bucket, struct io_hash_table, table, hbs);
	READ(bits, struct io_hash_table, table, hash_bits);
	if (!w.bucket || bits > 12) {
		a->requests_more = 1;
		return;
	}
	w.buckets = (1U << bits) - 1;
	/*
	 * Old verifiers follow a callback once, with what its context holds before
	 * the first call, and cut off branches that are not taken then: node must be
	 * a value that they do not know.
	 */
	READ(w.node, struct io_hash_bucket, w.bucket, list.first);
	w.bucket += bpf_core_type_size(struct io_hash_bucket);
	bpf_loop(MAX_STEPS, armed_one, &w, 0);
	a->requests_more |= w.more || !w.done;
}

/* A walk over a list_head, or over a chain that ends with 0. */
struct chain {
	struct ring_lists *out;
	u64 ctx;
	u64 cursor;
	u64 end;
	u32 count;
	u32 more;
};

static long timeout_one(u32 i, struct chain *c)
{
	u64 node = c->cursor;

	if (!node || node == c->end)
		return 1;
	READ(c->cursor, struct list_head, node, next);
	u64 req = node - bpf_core_field_offset(struct io_timeout, list) - bpf_core_field_offset(struct io_kiocb, cmd);
	if (!add_request(c->out, c->ctx, req, REQUEST_TIMEOUT, NULL)) {
		c->more = 1;
		return 1;
	}
	return 0;
}

static long length_one(u32 i, struct chain *c)
{
	u64 node = c->cursor;

	if (!node || node == c->end)
		return 1;
	READ(c->cursor, struct list_head, node, next);
	c->count = i + 1;
	return 0;
}

static long free_one(u32 i, struct chain *c)
{
	u64 node = c->cursor;

	if (!node)
		return 1;
	READ(c->cursor, struct io_wq_work_node, node, next);
	c->count = i + 1;
	return 0;
}

static __always_inline void read_timeouts(struct ring *a, struct ring_lists *out, u64 list)
{
	struct chain c = {.out = out, .ctx = a->ctx, .end = list};

	READ(c.cursor, struct list_head, list, next);
	bpf_loop(MAX_LIST + 1, timeout_one, &c, 0);
	a->requests_more |= c.more;
}

/*
 * Requests that are not on the list of free ones are in flight. The list is
 * that of the ring's submitter: while it runs the sum may not hold, and is
 * left out then.
 */
static __always_inline void read_in_flight(struct ring *a)
{
	u64 list = a->ctx + bpf_core_field_offset(struct io_ring_ctx, submit_state.free_list);
	u64 first = 0, again = 0;
	u32 allocated = 0;
	struct chain c = {};

	a->in_flight = -1;
	if (!bpf_core_field_exists(struct io_ring_ctx, nr_req_allocated) ||
	    !bpf_core_field_exists(struct io_ring_ctx, submit_state.free_list))
		return;
	a->have |= HAVE_ALLOCATED;
	READ(a->allocated, struct io_ring_ctx, a->ctx, nr_req_allocated);
	READ(first, struct io_wq_work_node, list, next);
	c.cursor = first;
	bpf_loop(MAX_FREE, free_one, &c, 0);
	READ(again, struct io_wq_work_node, list, next);
	READ(allocated, struct io_ring_ctx, a->ctx, nr_req_allocated);
	if (first == again && allocated == a->allocated && !c.cursor && c.count <= allocated)
		a->in_flight = allocated - c.count;
}

static __always_inline void read_thread(struct ring *a)
{
	u64 data = 0, task = 0;

	a->thread_cpu = a->thread_bound = -1;
	READ(data, struct io_ring_ctx, a->ctx, sq_data);
	if (!data)
		return;
	READ(task, struct io_sq_data, data, thread);
	READ(a->thread_bound, struct io_sq_data, data, sq_cpu);
	READ(a->thread_idle, struct io_sq_data, data, sq_thread_idle);
	if (bpf_core_field_exists(struct io_sq_data, work_time)) {
		a->have |= HAVE_WORK_TIME;
		READ(a->thread_work, struct io_sq_data, data, work_time);
	}
	if (!task)
		return; /* it has ended */
	READ(a->thread_pid, struct task_struct, task, pid);
	READ(a->thread_state, struct task_struct___uring, task, __state);
	READ(a->thread_total, struct task_struct___uring, task, se.sum_exec_runtime);
	if (bpf_core_field_exists(struct task_struct___uring, thread_info.cpu))
		READ(a->thread_cpu, struct task_struct___uring, task, thread_info.cpu);
	else if (bpf_core_field_exists(struct task_struct___cpu, cpu))
		READ(a->thread_cpu, struct task_struct___cpu, task, cpu);
}

static __always_inline u32 between(u32 head, u32 tail, u32 entries)
{
	u32 n = tail - head;

	/* More than there are slots: the owner wrote nonsense. */
	if (n > entries)
		n = entries;
	return n > MAX_LIST ? MAX_LIST : n;
}

SEC("syscall")
int read_ring(struct ring *a)
{
	u64 began = bpf_ktime_get_ns(), ctx = a->ctx, rings = 0;
	u32 zero = 0;
	struct ring_lists *out = bpf_map_lookup_elem(&lists, &zero);
	struct counters c = {}, again = {};

	if (!out)
		return 0;
	a->err = identify(a);
	if (a->err)
		return 0;

	READ(a->setup, struct io_ring_ctx, ctx, flags);
	READ(a->sq_entries, struct io_ring_ctx, ctx, sq_entries);
	READ(a->cq_entries, struct io_ring_ctx, ctx, cq_entries);
	READ(rings, struct io_ring_ctx, ctx, rings);

	struct slots s = {.out = out, .mask = a->sq_entries - 1, .stride = a->setup & IORING_SETUP_SQE128 ? 128 : 64};
	struct slots q = {.out = out, .mask = a->cq_entries - 1, .stride = a->setup & IORING_SETUP_CQE32 ? 32 : 16};
	q.entries = rings + bpf_core_field_offset(struct io_rings, cqes);
	READ(s.entries, struct io_ring_ctx, ctx, sq_sqes);
	if (!(a->setup & IORING_SETUP_NO_SQARRAY))
		READ(s.array, struct io_ring_ctx, ctx, sq_array);

	count(&c, rings);
	READ(a->cached_sq_head, struct io_ring_ctx, ctx, cached_sq_head);
	READ(a->cached_cq_tail, struct io_ring_ctx, ctx, cached_cq_tail);
	s.first = c.sq_head;
	q.first = c.cq_head;
	a->sqes = between(c.sq_head, c.sq_tail, a->sq_entries);
	a->cqes = between(c.cq_head, c.cq_tail, a->cq_entries);
	bpf_loop(a->sqes, sqe_one, &s, 0);
	bpf_loop(a->cqes, cqe_one, &q, 0);

	s.again = q.again = 1;
	count(&again, rings);
	bpf_loop(a->sqes, sqe_one, &s, 0);
	bpf_loop(a->cqes, cqe_one, &q, 0);
	a->moved = s.moved || q.moved || c.sq_head != again.sq_head || c.sq_tail != again.sq_tail ||
		   c.cq_head != again.cq_head || c.cq_tail != again.cq_tail;
	a->sq_head = c.sq_head;
	a->sq_tail = c.sq_tail;
	a->cq_head = c.cq_head;
	a->cq_tail = c.cq_tail;

	READ(a->sq_mask, struct io_rings, rings, sq_ring_mask);
	READ(a->cq_mask, struct io_rings, rings, cq_ring_mask);
	READ(a->sq_ring_entries, struct io_rings, rings, sq_ring_entries);
	READ(a->cq_ring_entries, struct io_rings, rings, cq_ring_entries);
	READ(a->sq_flags, struct io_rings, rings, sq_flags.counter);
	READ(a->cq_flags, struct io_rings, rings, cq_flags);
	READ(a->sq_dropped, struct io_rings, rings, sq_dropped);
	READ(a->cq_overflow, struct io_rings, rings, cq_overflow);

	struct chain o = {.end = ctx + bpf_core_field_offset(struct io_ring_ctx, cq_overflow_list)};
	READ(o.cursor, struct list_head, o.end, next);
	bpf_loop(MAX_OVERFLOW, length_one, &o, 0);
	a->overflow_list = o.count;
	a->overflow_more = o.cursor && o.cursor != o.end;

	if (bpf_core_field_exists(struct io_ring_ctx, file_table.data.nr) &&
	    bpf_core_field_exists(struct io_ring_ctx, buf_table.nr)) {
		a->have |= HAVE_TABLES;
		READ(a->files, struct io_ring_ctx, ctx, file_table.data.nr);
		READ(a->buffers, struct io_ring_ctx, ctx, buf_table.nr);
	} else if (bpf_core_field_exists(struct io_ring_ctx___tables, nr_user_files)) {
		a->have |= HAVE_TABLES;
		READ(a->files, struct io_ring_ctx___tables, ctx, nr_user_files);
		READ(a->buffers, struct io_ring_ctx___tables, ctx, nr_user_bufs);
	}

	out->requests = 0;
	if (bpf_core_field_exists(struct io_ring_ctx, cancel_table.hbs)) {
		a->have |= HAVE_REQUESTS;
		read_armed(a, out, ctx + bpf_core_field_offset(struct io_ring_ctx, cancel_table));
		if (bpf_core_field_exists(struct io_ring_ctx___tables, cancel_table_locked))
			read_armed(a, out, ctx + bpf_core_field_offset(struct io_ring_ctx___tables, cancel_table_locked));
		read_timeouts(a, out, ctx + bpf_core_field_offset(struct io_ring_ctx, timeout_list));
		read_timeouts(a, out, ctx + bpf_core_field_offset(struct io_ring_ctx, ltimeout_list));
	}
	a->requests = out->requests;
	read_in_flight(a);
	read_thread(a);

	/* The ring may have gone while it was read. */
	a->err = identify(a);
	a->ended = bpf_ktime_get_ns();
	a->spent = a->ended - began;
	return 0;
}
