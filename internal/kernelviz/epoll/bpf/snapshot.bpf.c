/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Reads one eventpoll as it is: the red-black tree, the ready list, the
 * overflow list and the wait queue, without stopping anybody.
 *
 * The program runs on demand (BPF_PROG_RUN of a syscall program), in as many
 * runs as it takes, so that no run holds a CPU for long. The tree is walked
 * breadth first and the output array is the queue: slot `head` is read, its
 * children are appended at `tail`. There is no stack and no recursion, children
 * are known by index, and the next run goes on at `head`.
 *
 * Nothing is locked, so a snapshot can be torn: user space checks it. Reads of
 * freed memory cannot fault, and every loop is bounded. With want_instant a
 * second pass reads every link again. If all are as they were, the whole tree
 * stood like this at the moment between the two passes (double collect: Afek et
 * al., "Atomic snapshots of shared memory", 1993).
 */
#include "eventpoll.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Nodes that the array holds. The loader sizes the map to match. */
const volatile u32 capacity = 1;

/* One epitem; mirrored by rawNode in Go. */
struct node {
	u64 addr;
	u64 left;
	u64 right;
	u64 parent_color; /* parent | bits: NODE_* */
	u64 file;
	s32 fd;
	u32 events;
	u64 data;
	u32 left_index; /* slot of the child; 0 is none, as the root has slot 0 */
	u32 right_index;
};

/* rb_node addresses are 8-byte aligned: bit 0 is the kernel's colour bit. */
enum {
	NODE_BLACK = 1 << 0,
	NODE_LINKED = 1 << 1,   /* rdllink is on a list */
	NODE_OVERFLOW = 1 << 2, /* on ovflist */
};

/* Keeps struct node in the object's BTF, from which bpf2go writes rawNode. */
const struct node *node_layout __attribute__((unused));

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, u32);
	__uint(value_size, sizeof(struct node));
} nodes SEC(".maps");

#define MAX_LIST 4096
#define MAX_WAITERS 512

struct entry {
	u64 item;
	u64 file;
	s32 fd;
	u32 events;
};

struct waiter {
	u32 tid;
	u32 pid;
	u32 flags;
	u32 pad;
	u64 entry; /* the wait_queue_entry, on its thread's stack */
	char comm[16];
};

struct list_rows {
	struct entry ready[MAX_LIST];
	struct entry overflow[MAX_LIST];
	struct waiter waiters[MAX_WAITERS];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct list_rows);
} lists SEC(".maps");

enum stage {
	STAGE_BEGIN,
	STAGE_WALK,
	STAGE_RECHECK,
	STAGE_READY,
	STAGE_OVERFLOW,
	STAGE_WAITERS,
	STAGE_DONE,
};

/* Argument and result of one run; mirrored by snapshotArgs in Go. */
struct snapshot_args {
	/* Who is read: found by discover, checked in every run. */
	u64 task;
	u64 start_time;
	u64 file;
	u64 ep;
	u32 pid;
	s32 fd;
	u32 budget; /* nodes or list entries per run */
	u32 want_instant;
	/* How far it is; zero before the first run. */
	u32 stage;
	u32 head;
	u32 tail;
	u32 rechecked;
	u64 cursor;
	u64 previous;
	/* What was found. */
	s32 err; /* 0, -ESRCH: the task is gone, -EBADF: the fd is another file now */
	u32 foreign;       /* slots that were no epitem of this eventpoll: the tree is torn */
	u32 changed;       /* links that differed in the second pass */
	u32 bad_links;     /* list entries whose prev was not the entry before */
	u64 root;
	u64 leftmost;
	u64 owner;         /* mtx.owner when the walk began: not 0 while locked */
	u64 ovflist;
	u32 refcount;      /* 0 if this kernel has none */
	u32 ready;
	u32 overflow;
	u32 waiters;
	u32 poll_waiters;
	u32 root_moved;    /* root, leftmost or refcount changed until the walk ended */
	u64 began;         /* bpf_ktime_get_ns */
	u64 ended;
	u64 spent;         /* ns in all runs together */
};

#define ESRCH 3
#define EBADF 9

/* struct file_operations of epoll, learnt from an instance of our own. */
u64 eventpoll_fops;

/* One epitem is copied here in the tier without kfuncs. Runs are serialised. */
static u8 scratch[256];

static __always_inline struct epitem *item_at(u64 addr)
{
	if (use_cast && bpf_rdonly_cast)
		return CAST(struct epitem, addr);
	u32 size = bpf_core_type_size(struct epitem);
	if (size > sizeof(scratch))
		size = sizeof(scratch);
	if (bpf_probe_read_kernel(scratch, size, (void *)addr))
		return NULL;
	return (struct epitem *)scratch;
}

/*
 * The task found at discovery still runs, and its fd is still this file, of
 * this eventpoll. No reference is held: the target's own close() and exit()
 * must free what they would have freed.
 */
static __always_inline int identify(struct snapshot_args *a)
{
	u32 pid = 0, max_fds = 0;
	u64 start = 0, files = 0, fdt = 0, table = 0, file = 0, fops = 0, private = 0;

	READ(pid, struct task_struct, a->task, pid);
	READ(start, struct task_struct, a->task, start_time);
	if (pid != a->pid || start != a->start_time)
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
	READ(fops, struct file, file, f_op);
	READ(private, struct file, file, private_data);
	if (fops != eventpoll_fops || private != a->ep)
		return -EBADF;
	return 0;
}

struct walk {
	struct node *nodes;
	u64 ep;
	u32 start;
	u32 tail;
	u32 limit; /* no more slots than this: a torn tree may loop */
	u32 foreign;
	u32 changed;
	u32 done;
};

static long walk_one(u32 i, struct walk *w)
{
	u32 head = w->start + i;
	if (head >= w->tail || head >= capacity)
		return 1;
	w->done = i + 1;
	struct node *n = &w->nodes[head];
	n->left_index = 0;
	n->right_index = 0;
	struct epitem *e = item_at(n->addr);
	if (!e || (u64)e->ep != w->ep) {
		w->foreign++;
		n->left = 0;
		n->right = 0;
		return 0;
	}
	u64 left = (u64)e->rbn.rb_left, right = (u64)e->rbn.rb_right;
	n->left = left;
	n->right = right;
	n->file = (u64)e->ffd.file;
	n->fd = e->ffd.fd;
	n->events = e->event.events;
	n->data = e->event.data;
	u64 bits = e->rbn.__rb_parent_color;
	if ((u64)e->rdllink.next != n->addr + bpf_core_field_offset(struct epitem, rdllink))
		bits |= NODE_LINKED;
	if (bpf_core_field_exists(struct epitem, ovflist_next)) {
		if ((u64)e->ovflist_next != EP_UNACTIVE)
			bits |= NODE_OVERFLOW;
	} else {
		struct epitem___next *old = (void *)e;
		if (use_cast && bpf_rdonly_cast)
			old = CAST(struct epitem___next, n->addr);
		if ((u64)old->next != EP_UNACTIVE)
			bits |= NODE_OVERFLOW;
	}
	n->parent_color = bits;
	u32 tail = w->tail;
	if (left && tail < capacity && tail < w->limit) {
		w->nodes[tail].addr = left;
		n->left_index = tail++;
	}
	if (right && tail < capacity && tail < w->limit) {
		w->nodes[tail].addr = right;
		n->right_index = tail++;
	}
	w->tail = tail;
	return 0;
}

static long recheck_one(u32 i, struct walk *w)
{
	u32 head = w->start + i;
	if (head >= w->tail || head >= capacity)
		return 1;
	w->done = i + 1;
	struct node *n = &w->nodes[head];
	struct epitem *e = item_at(n->addr);
	if (!e)
		goto changed;
	if ((u64)e->rbn.rb_left != n->left || (u64)e->rbn.rb_right != n->right)
		goto changed;
	u64 parent_color = e->rbn.__rb_parent_color;
	if ((parent_color ^ n->parent_color) & ~(u64)(NODE_LINKED | NODE_OVERFLOW))
		goto changed;
	if ((u64)e->ep != w->ep || (u64)e->ffd.file != n->file || e->ffd.fd != n->fd)
		goto changed;
	return 0;
changed:
	w->changed++;
	return 1;
}

struct chain {
	struct list_rows *out;
	u64 cursor;   /* list_head or epitem to read next */
	u64 previous; /* the one before */
	u64 end;
	u32 base;     /* entries read in earlier runs */
	u32 count;
	u32 bad;
	u32 done;
};

static long ready_one(u32 i, struct chain *c)
{
	if (!c->cursor || c->cursor == c->end) {
		c->done = 1;
		return 1;
	}
	u64 addr = c->cursor - bpf_core_field_offset(struct epitem, rdllink);
	struct epitem *e = item_at(addr);
	if (!e) {
		c->bad++;
		c->done = 1;
		return 1;
	}
	u64 next = (u64)e->rdllink.next;
	/* An entry taken off the list points to itself: the list moved under us. */
	if ((u64)e->rdllink.prev != c->previous || next == c->cursor) {
		c->bad++;
		c->done = 1;
		return 1;
	}
	u32 k = c->base + i;
	if (k < MAX_LIST) {
		struct entry *out = &c->out->ready[k];
		out->item = addr;
		out->file = (u64)e->ffd.file;
		out->fd = e->ffd.fd;
		out->events = e->event.events;
	}
	c->previous = c->cursor;
	c->cursor = next;
	c->count = i + 1;
	return 0;
}

static long overflow_one(u32 i, struct chain *c)
{
	if (!c->cursor || c->cursor == EP_UNACTIVE) {
		c->done = 1;
		return 1;
	}
	u64 addr = c->cursor, next = 0;
	struct epitem *e = item_at(addr);
	if (!e) {
		c->bad++;
		c->done = 1;
		return 1;
	}
	u32 k = c->base + i;
	if (k < MAX_LIST) {
		struct entry *out = &c->out->overflow[k];
		out->item = addr;
		out->file = (u64)e->ffd.file;
		out->fd = e->ffd.fd;
		out->events = e->event.events;
	}
	bpf_probe_read_kernel(&next, sizeof(next), (void *)(addr + ovflist_next_offset()));
	c->cursor = next;
	c->count = i + 1;
	return 0;
}

static long waiter_one(u32 i, struct chain *c)
{
	if (!c->cursor || c->cursor == c->end) {
		c->done = 1;
		return 1;
	}
	u64 addr = c->cursor - bpf_core_field_offset(struct wait_queue_entry, entry);
	u64 prev = 0, next = 0, task = 0;
	READ(next, struct wait_queue_entry, addr, entry.next);
	READ(prev, struct wait_queue_entry, addr, entry.prev);
	READ(task, struct wait_queue_entry, addr, private);
	if (prev != c->previous || next == c->cursor) {
		c->bad++;
		c->done = 1;
		return 1;
	}
	if (i < MAX_WAITERS) {
		struct waiter *out = &c->out->waiters[i];
		READ(out->flags, struct wait_queue_entry, addr, flags);
		READ(out->tid, struct task_struct, task, pid);
		READ(out->pid, struct task_struct, task, tgid);
		out->entry = addr;
		bpf_probe_read_kernel_str(out->comm, sizeof(out->comm),
					  (void *)(task + bpf_core_field_offset(struct task_struct, comm)));
	}
	c->previous = c->cursor;
	c->cursor = next;
	c->count = i + 1;
	return 0;
}

/* Entries of poll_wait are not threads: another eventpoll, or a select(). */
static long poll_waiter_one(u32 i, struct chain *c)
{
	if (!c->cursor || c->cursor == c->end)
		return 1;
	u64 next = 0;
	READ(next, struct list_head, c->cursor, next);
	if (next == c->cursor)
		return 1;
	c->cursor = next;
	c->count = i + 1;
	return 0;
}

static __always_inline u32 refcount_of(u64 ep)
{
	u32 n = 0;
	if (bpf_core_field_exists(struct eventpoll, refcount))
		READ(n, struct eventpoll, ep, refcount.refs.counter);
	return n;
}

SEC("syscall")
int snapshot(struct snapshot_args *a)
{
	u64 began = bpf_ktime_get_ns();
	u32 zero = 0, budget = a->budget;
	struct node *array = bpf_map_lookup_elem(&nodes, &zero);
	struct list_rows *out = bpf_map_lookup_elem(&lists, &zero);
	u64 ep = a->ep;

	if (!array || !out)
		return 0;
	a->err = identify(a);
	if (a->err)
		return 0;

	if (a->stage == STAGE_BEGIN) {
		a->began = began;
		READ(a->owner, struct eventpoll, ep, mtx.owner.counter);
		READ(a->root, struct eventpoll, ep, rbr.rb_root.rb_node);
		READ(a->leftmost, struct eventpoll, ep, rbr.rb_leftmost);
		a->refcount = refcount_of(ep);
		array[0].addr = a->root;
		a->tail = a->root ? 1 : 0;
		a->stage = STAGE_WALK;
	}
	if (a->stage == STAGE_WALK) {
		struct walk w = {.nodes = array, .ep = ep, .start = a->head, .tail = a->tail};
		/* Items may be added while we walk; beyond these few it is torn. */
		w.limit = a->refcount ? a->refcount + 64 : capacity;
		bpf_loop(budget, walk_one, &w, 0);
		a->head += w.done;
		a->tail = w.tail;
		a->foreign += w.foreign;
		budget -= w.done;
		if (a->head < a->tail && a->head < capacity)
			goto out;
		u64 root = 0, leftmost = 0;
		READ(root, struct eventpoll, ep, rbr.rb_root.rb_node);
		READ(leftmost, struct eventpoll, ep, rbr.rb_leftmost);
		a->root_moved = root != a->root || leftmost != a->leftmost ||
				refcount_of(ep) != a->refcount;
		a->stage = a->want_instant ? STAGE_RECHECK : STAGE_READY;
		a->cursor = 0;
	}
	if (a->stage == STAGE_RECHECK) {
		struct walk w = {.nodes = array, .ep = ep, .start = a->rechecked, .tail = a->tail};
		bpf_loop(budget, recheck_one, &w, 0);
		a->rechecked += w.done;
		a->changed += w.changed;
		budget -= w.done;
		if (a->rechecked < a->tail && !a->changed)
			goto out;
		a->stage = STAGE_READY;
	}
	if (a->stage == STAGE_READY) {
		u64 end = ep + bpf_core_field_offset(struct eventpoll, rdllist);
		if (!a->cursor) {
			READ(a->cursor, struct eventpoll, ep, rdllist.next);
			READ(a->ovflist, struct eventpoll, ep, ovflist);
			a->previous = end;
		}
		struct chain c = {.out = out, .cursor = a->cursor, .previous = a->previous, .end = end, .base = a->ready};
		bpf_loop(budget, ready_one, &c, 0);
		a->cursor = c.cursor;
		a->previous = c.previous;
		a->ready += c.count;
		a->bad_links += c.bad;
		budget -= c.count;
		if (!c.done && a->cursor != end)
			goto out;
		a->cursor = a->ovflist;
		a->stage = STAGE_OVERFLOW;
	}
	if (a->stage == STAGE_OVERFLOW) {
		struct chain c = {.out = out, .cursor = a->cursor, .base = a->overflow};
		bpf_loop(budget, overflow_one, &c, 0);
		a->cursor = c.cursor;
		a->overflow += c.count;
		a->bad_links += c.bad;
		if (!c.done && c.cursor && c.cursor != EP_UNACTIVE)
			goto out;
		a->stage = STAGE_WAITERS;
	}
	if (a->stage == STAGE_WAITERS) {
		u64 end = ep + bpf_core_field_offset(struct eventpoll, wq.head);
		struct chain c = {.out = out, .previous = end, .end = end};
		READ(c.cursor, struct eventpoll, ep, wq.head.next);
		bpf_loop(16384, waiter_one, &c, 0);
		a->waiters = c.count;
		a->bad_links += c.bad;
		end = ep + bpf_core_field_offset(struct eventpoll, poll_wait.head);
		struct chain p = {.end = end};
		READ(p.cursor, struct eventpoll, ep, poll_wait.head.next);
		bpf_loop(16384, poll_waiter_one, &p, 0);
		a->poll_waiters = p.count;
		a->stage = STAGE_DONE;
	}
out:
	/* The eventpoll may have gone while it was read. */
	a->err = identify(a);
	a->ended = bpf_ktime_get_ns();
	a->spent += a->ended - began;
	return 0;
}
