/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Tells the lives of the requests of watched rings, from the tracepoints of
 * io_uring. They are attached while somebody watches, and run for every ring of
 * the machine then: a ring that is not watched costs a few compares.
 *
 * A ring at full speed has more events than anybody could look at, and each
 * costs its owner. So a ring may spend so many events in a window of time; once
 * they are spent no further request is followed until the next window. Those
 * that are followed are followed to their end: a life is told as a whole or not
 * at all. Every event counts in seq, told or not, so that a gap is a loss. And
 * since a program that does nothing costs as much as a NOP, the loader takes the
 * programs off for a while when they run millions of times a second.
 *
 * Arguments of tracepoints differ between kernels. Where they do there is a
 * program per layout, and the loader picks by the prototype in BTF.
 */
#include "uring.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define MAX_RINGS 16

/* The struct io_ring_ctx to look at; 0 is none. Written by the loader alone. */
u64 rings[MAX_RINGS];
u32 ring_count;

/* What is counted of a ring; zeroed by the loader before it enters the ring. */
struct ring_state {
	u64 seq; /* events, told or not */
	/* Those that are not told. Counted by itself: seq less what was told would
	 * take an event that is just being told on another CPU for a loss. */
	u64 untold;
	u64 window; /* when it began, bpf_jiffies64 */
	u32 spent;  /* events told in it */
	u32 known;  /* requests followed, in flight */
	u32 thinned; /* 1: there were requests that are not followed */
	u32 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_RINGS);
	__type(key, u32);
	__type(value, struct ring_state);
} states SEC(".maps");

/* The length of a window in jiffies, 50 ms; set by the loader. */
const volatile u32 window = 1;
/* Events in a window until no further request is followed: 50,000 a second. */
#define BUDGET 2500
/* And until those of the followed ones are not told either. */
#define HARD_BUDGET (2 * BUDGET)

/* A request that is followed, by the address of its struct io_kiocb. */
struct request {
	u64 submitted; /* bpf_ktime_get_ns */
	u64 user_data;
	u64 ring;
	s32 fd;
	u8 op;
	u8 flags;
	u8 pad[2];
};

#define MAX_REQUESTS 16384
#define MAP_TYPE_HASH 1 /* BPF_MAP_TYPE_HASH */

struct {
	__uint(type, MAP_TYPE_HASH);
	__uint(max_entries, MAX_REQUESTS);
	__type(key, u64);
	__type(value, struct request);
} requests SEC(".maps");

#define RING_SIZE (512 * 1024)
#define WAKEUP_GAP 8000000ULL     /* ns */
#define FULL_WAKEUP_GAP 250000ULL /* while the ring is more than half full */

u64 last_wakeup;

/* wire.Life* */
enum {
	LIFE_SUBMIT = 1,
	LIFE_ARM,
	LIFE_PUNT,
	LIFE_TASK_WORK,
	LIFE_COMPLETE,
	LIFE_OVERFLOW,
	LIFE_FAIL,
	LIFE_LINK,
	LIFE_DEFER,
	LIFE_CQ_WAIT,
	LIFE_LOCAL_WORK,
};

struct life {
	u64 ring; /* struct io_ring_ctx */
	u64 seq;
	u64 time;
	u64 submitted;
	u64 req;
	u64 user_data;
	s32 res;
	u32 cqe_flags;
	u32 tid;
	s32 fd;
	u8 what;
	u8 op;
	u8 sqe_flags;
	u8 worker;
	u32 pad;
};

/* Keeps the struct in the object's BTF, for bpf2go. */
const struct life *life_layout __attribute__((unused));

#define NO_OP 255

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, RING_SIZE);
} lives SEC(".maps");

/* What the programs cost, by one run in TIMED_EVERY. */
#define TIMED_EVERY 64

struct cost {
	u64 runs;
	u64 ns; /* in those that were timed */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct cost);
} spent SEC(".maps");

#define PF_IO_WORKER 0x10

/* 1 an io-wq worker, 2 an SQPOLL thread, 0 any other. */
static __always_inline u8 worker(void)
{
	u64 task = bpf_get_current_task();
	u32 flags = 0;
	char comm[16] = {};

	READ(flags, struct task_struct___uring, task, flags);
	if (!(flags & PF_IO_WORKER))
		return 0;
	bpf_get_current_comm(comm, sizeof(comm));
	return comm[4] == 's' ? 2 : 1; /* iou-sqp-PID, iou-wrk-PID */
}

static __always_inline struct ring_state *watched(u64 ring)
{
	u32 n = ring_count;

	for (u32 i = 0; i < MAX_RINGS; i++) {
		if (i >= n)
			break;
		if (rings[i] == ring)
			return bpf_map_lookup_elem(&states, &i);
	}
	return NULL;
}

/* 1: no further request is followed, since the tracepoints are about to rest. */
u32 closing;

/* Not told. */
static __always_inline void pass(struct ring_state *s)
{
	__sync_fetch_and_add(&s->seq, 1);
	__sync_fetch_and_add(&s->untold, 1);
}

/* May another request be followed? */
static __always_inline bool may_follow(struct ring_state *s)
{
	if (closing)
		return false;
	u64 now = bpf_jiffies64();

	if (now - s->window >= window) {
		s->window = now;
		s->spent = 0;
	}
	return s->spent < BUDGET;
}

static __always_inline void tell(struct ring_state *s, u64 ring, u8 what, u64 req, const struct request *r,
				 s32 res, u32 cqe_flags, u64 now)
{
	u64 seq = __sync_fetch_and_add(&s->seq, 1);

	struct life *l = NULL;
	if (s->spent < HARD_BUDGET || may_follow(s))
		l = bpf_ringbuf_reserve(&lives, sizeof(*l), 0);
	if (!l) {
		__sync_fetch_and_add(&s->untold, 1);
		return;
	}
	__sync_fetch_and_add(&s->spent, 1);
	l->ring = ring;
	l->seq = seq;
	l->time = now;
	l->submitted = r->submitted;
	l->req = req;
	l->user_data = r->user_data;
	l->res = res;
	l->cqe_flags = cqe_flags;
	l->tid = (u32)bpf_get_current_pid_tgid();
	l->fd = r->fd;
	l->what = what;
	l->op = r->op;
	l->sqe_flags = r->flags;
	l->worker = worker();
	l->pad = 0;
	/*
	 * Waking the reader costs the thread that is being watched, so it is
	 * done seldom; the rest is read with the next sample.
	 */
	u64 wakeup = BPF_RB_NO_WAKEUP, gap = now - last_wakeup;
	if (gap > WAKEUP_GAP ||
	    (gap > FULL_WAKEUP_GAP && bpf_ringbuf_query(&lives, BPF_RB_AVAIL_DATA) > RING_SIZE / 2)) {
		last_wakeup = now;
		wakeup = BPF_RB_FORCE_WAKEUP;
	}
	bpf_ringbuf_submit(l, wakeup);
}

/*
 * What a request is, for as long as it has not completed. Of one that was
 * submitted at some time before, the fd may be written over.
 */
static __always_inline void describe(struct request *r, u64 req, u64 ring, bool fresh)
{
	r->ring = ring;
	r->fd = -1;
	READ(r->op, struct io_kiocb, req, opcode);
	READ(r->user_data, struct io_kiocb, req, cqe.user_data);
	r->flags = (u8)flags_of(req);
	if (!fresh) {
		struct fd_table fds = fds_of(bpf_get_current_task());
		r->fd = fd_of(req, r->op, r->flags, &fds, true);
	} else if (takes_file(r->op)) {
		READ(r->fd, struct io_kiocb, req, cqe.fd);
	}
}

/* A life begins. */
static __always_inline void begin(u64 ring, u64 req, u8 what, s32 res)
{
	struct ring_state *s = watched(ring);

	if (!s)
		return;
	if (!may_follow(s)) {
		s->thinned = 1;
		pass(s);
		return;
	}
	struct request r = {};
	bool again = bpf_map_lookup_elem(&requests, &req);
	describe(&r, req, ring, true);
	r.submitted = bpf_ktime_get_ns();
	if (bpf_map_update_elem(&requests, &req, &r, 0)) {
		/* More are in flight than the map holds. */
		s->thinned = 1;
		pass(s);
		return;
	}
	if (!again)
		__sync_fetch_and_add(&s->known, 1);
	tell(s, ring, what, req, &r, res, 0, r.submitted);
}

/* Something happens to a request before it completes. */
static __always_inline void go_on(u64 ring, u64 req, u8 what)
{
	struct ring_state *s = watched(ring);

	if (!s)
		return;
	if (s->thinned && !s->known) {
		pass(s);
		return;
	}
	struct request *known = bpf_map_lookup_elem(&requests, &req);
	if (known) {
		tell(s, ring, what, req, known, 0, 0, bpf_ktime_get_ns());
		return;
	}
	if (s->thinned) {
		pass(s);
		return;
	}
	/* Submitted before it was watched. */
	struct request r = {};
	describe(&r, req, ring, false);
	tell(s, ring, what, req, &r, 0, 0, bpf_ktime_get_ns());
}

/* A CQE is posted. req is 0 of all but the last of a multishot request. */
static __always_inline void complete(u64 ring, u64 req, u64 user_data, s32 res, u32 flags)
{
	struct ring_state *s = watched(ring);

	if (!s)
		return;
	if (s->thinned && !s->known) {
		pass(s);
		return;
	}
	struct request r = {.user_data = user_data, .ring = ring, .fd = -1, .op = NO_OP};
	struct request *known = req ? bpf_map_lookup_elem(&requests, &req) : NULL;
	if (known) {
		r = *known;
		if (!(flags & IORING_CQE_F_MORE) && !bpf_map_delete_elem(&requests, &req))
			__sync_fetch_and_sub(&s->known, 1);
	} else if (s->thinned && (req || !may_follow(s))) {
		pass(s);
		return;
	} else if (req) {
		READ(r.op, struct io_kiocb, req, opcode);
		r.flags = (u8)flags_of(req);
	}
	r.user_data = user_data;
	tell(s, ring, LIFE_COMPLETE, req, &r, res, flags, bpf_ktime_get_ns());
}

/* Something of the ring as a whole, or of a request that is not named. */
static __always_inline void happen(u64 ring, u8 what, u64 user_data, s32 res, u32 flags)
{
	struct ring_state *s = watched(ring);

	if (!s)
		return;
	if (!may_follow(s)) {
		pass(s);
		return;
	}
	struct request r = {.user_data = user_data, .ring = ring, .fd = -1, .op = NO_OP};
	tell(s, ring, what, 0, &r, res, flags, bpf_ktime_get_ns());
}

/* Runs a statement, and times one run of TIMED_EVERY. */
#define METERED(statement)                                                \
	do {                                                              \
		u32 zero = 0;                                             \
		u64 began = 0;                                            \
		struct cost *c = bpf_map_lookup_elem(&spent, &zero);      \
		if (c && ++c->runs % TIMED_EVERY == 0)                    \
			began = bpf_ktime_get_ns();                       \
		statement;                                                \
		if (c && began)                                           \
			c->ns += bpf_ktime_get_ns() - began;              \
	} while (0)

static __always_inline u64 ring_of(struct io_kiocb *req)
{
	return (u64)req->ctx;
}

/* (struct io_kiocb *req) */
SEC("tp_btf/io_uring_submit_req")
int submit_req(u64 *ctx)
{
	struct io_kiocb *req = (struct io_kiocb *)ctx[0];
	METERED(begin(ring_of(req), (u64)req, LIFE_SUBMIT, 0));
	return 0;
}

/* (struct io_kiocb *req, bool force_nonblock), before 6.3 */
SEC("tp_btf/io_uring_submit_sqe")
int submit_sqe(u64 *ctx)
{
	struct io_kiocb *req = (struct io_kiocb *)ctx[0];
	METERED(begin(ring_of(req), (u64)req, LIFE_SUBMIT, 0));
	return 0;
}

/* (const struct io_uring_sqe *sqe, struct io_kiocb *req, int error) */
SEC("tp_btf/io_uring_req_failed")
int req_failed(u64 *ctx)
{
	struct io_kiocb *req = (struct io_kiocb *)ctx[1];
	METERED(begin(ring_of(req), (u64)req, LIFE_FAIL, (s32)ctx[2]));
	return 0;
}

/* (struct io_kiocb *req, int mask, int events) */
SEC("tp_btf/io_uring_poll_arm")
int poll_arm(u64 *ctx)
{
	struct io_kiocb *req = (struct io_kiocb *)ctx[0];
	METERED(go_on(ring_of(req), (u64)req, LIFE_ARM));
	return 0;
}

/* (struct io_kiocb *req, int rw) */
SEC("tp_btf/io_uring_queue_async_work")
int queue_async_work(u64 *ctx)
{
	struct io_kiocb *req = (struct io_kiocb *)ctx[0];
	METERED(go_on(ring_of(req), (u64)req, LIFE_PUNT));
	return 0;
}

/* (struct io_kiocb *req, int mask) */
SEC("tp_btf/io_uring_task_add")
int task_add(u64 *ctx)
{
	struct io_kiocb *req = (struct io_kiocb *)ctx[0];
	METERED(go_on(ring_of(req), (u64)req, LIFE_TASK_WORK));
	return 0;
}

/* (struct io_kiocb *req, struct io_kiocb *target_req) */
SEC("tp_btf/io_uring_link")
int link_req(u64 *ctx)
{
	struct io_kiocb *req = (struct io_kiocb *)ctx[0];
	METERED(go_on(ring_of(req), (u64)req, LIFE_LINK));
	return 0;
}

/* (struct io_kiocb *req) */
SEC("tp_btf/io_uring_defer")
int defer_req(u64 *ctx)
{
	struct io_kiocb *req = (struct io_kiocb *)ctx[0];
	METERED(go_on(ring_of(req), (u64)req, LIFE_DEFER));
	return 0;
}

/* (struct io_ring_ctx *ctx, void *req, struct io_uring_cqe *cqe) */
SEC("tp_btf/io_uring_complete")
int complete_cqe(u64 *ctx)
{
	struct io_uring_cqe *cqe = (struct io_uring_cqe *)ctx[2];
	METERED(complete(ctx[0], ctx[1], cqe->user_data, cqe->res, cqe->flags));
	return 0;
}

/* (void *ctx, void *req, u64 user_data, int res, unsigned cflags, …), as in 6.1 */
SEC("tp_btf/io_uring_complete")
int complete_args(u64 *ctx)
{
	METERED(complete(ctx[0], ctx[1], ctx[2], (s32)ctx[3], (u32)ctx[4]));
	return 0;
}

/* (void *ctx, unsigned long long user_data, s32 res, u32 cflags, void *ocqe) */
SEC("tp_btf/io_uring_cqe_overflow")
int cqe_overflow(u64 *ctx)
{
	METERED(happen(ctx[0], LIFE_OVERFLOW, ctx[1], (s32)ctx[2], (u32)ctx[3]));
	return 0;
}

/* (void *ctx, int min_events) */
SEC("tp_btf/io_uring_cqring_wait")
int cqring_wait(u64 *ctx)
{
	METERED(happen(ctx[0], LIFE_CQ_WAIT, 0, (s32)ctx[1], 0));
	return 0;
}

/* (void *ctx, int count, unsigned int loops) */
SEC("tp_btf/io_uring_local_work_run")
int local_work_run(u64 *ctx)
{
	METERED(happen(ctx[0], LIFE_LOCAL_WORK, 0, (s32)ctx[1], 0));
	return 0;
}

struct skip_args {
	u64 ring;
	u32 slot;
	u32 add; /* 1: count what came since sum was taken */
	u32 sum; /* SQEs taken and CQEs posted by the ring, mod 2^32 */
	u32 pad;
};

/*
 * Counts the events of a ring from the time when the tracepoints were not
 * attached: a submission for every SQE, a completion for every CQE.
 */
SEC("syscall")
int skip(struct skip_args *a)
{
	u32 slot = a->slot, flags = 0, taken = 0, posted = 0;
	struct ring_state *s = bpf_map_lookup_elem(&states, &slot);

	READ(flags, struct io_ring_ctx, a->ring, flags);
	if (!(flags & IORING_SETUP_SQ_REWIND)) /* else it starts at 0 each time */
		READ(taken, struct io_ring_ctx, a->ring, cached_sq_head);
	READ(posted, struct io_ring_ctx, a->ring, cached_cq_tail);
	if (s && a->add) {
		s->thinned = 1;
		s->known = 0;
		__sync_fetch_and_add(&s->seq, (u32)(taken + posted - a->sum));
		__sync_fetch_and_add(&s->untold, (u32)(taken + posted - a->sum));
	}
	a->sum = taken + posted;
	return 0;
}
