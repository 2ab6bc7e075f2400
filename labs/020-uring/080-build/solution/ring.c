/*
 * A ring from raw system calls: no liburing, no library at all.
 *
 * The program goes through six stages and stops at the first that is not
 * written yet, with everything open, so that you and the kernel can look at
 * it. Each TODO below belongs to one stage.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/io_uring.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { ENTRIES = 8, MANY = 500000 };

/* What the kernel and we share, and where it lies in our memory. */
struct ring {
	int fd;
	struct io_uring_params p;
	char *rings;               /* heads, tails, masks, CQEs: IORING_OFF_SQ_RING */
	struct io_uring_sqe *sqes; /* IORING_OFF_SQES */
	unsigned tail;             /* ours: SQEs filled so far; published by submit */
};

static void die(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(1);
}

/* stop ends the tour where nothing is written yet; the ring stays open. */
static void stop(const char *stage)
{
	printf("%s: not written yet; everything stays open for 60 seconds\n", stage);
	fflush(stdout);
	sleep(60);
	exit(1);
}

/* word is a counter in the memory that the kernel shares with us. */
static _Atomic unsigned *word(struct ring *r, unsigned offset)
{
	return (_Atomic unsigned *)(r->rings + offset);
}

static unsigned load(_Atomic unsigned *w) { return atomic_load_explicit(w, memory_order_acquire); }
static void store(_Atomic unsigned *w, unsigned v) { atomic_store_explicit(w, v, memory_order_release); }

static int enter(struct ring *r, unsigned submit, unsigned wait, unsigned flags)
{
	int n = syscall(SYS_io_uring_enter, r->fd, submit, wait, flags, NULL, 0);
	if (n < 0 && errno != EBUSY)
		die("io_uring_enter");
	return n;
}

/* setup makes a ring of ENTRIES; the kernel fills in the rest of p. */
static bool setup(struct ring *r, unsigned flags)
{
	memset(r, 0, sizeof *r);
	r->p.flags = flags;
	r->p.sq_thread_idle = 1000;
	r->fd = syscall(SYS_io_uring_setup, ENTRIES, &r->p);
	if (r->fd < 0)
		die("io_uring_setup");
	return true;
}

/* map brings both mappings into our memory. */
static bool map(struct ring *r)
{
	size_t sq = r->p.sq_off.array + r->p.sq_entries * sizeof(unsigned);
	size_t cq = r->p.cq_off.cqes + r->p.cq_entries * sizeof(struct io_uring_cqe);
	r->rings = mmap(NULL, sq > cq ? sq : cq, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, r->fd, IORING_OFF_SQ_RING);
	if (r->rings == MAP_FAILED)
		die("mmap of the rings");
	r->sqes = mmap(NULL, r->p.sq_entries * sizeof(struct io_uring_sqe), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, r->fd, IORING_OFF_SQES);
	if (r->sqes == MAP_FAILED)
		die("mmap of the SQEs");
	return true;
}

/* next is a free SQE, zeroed; NULL while the submission queue is full. */
static struct io_uring_sqe *next(struct ring *r)
{
	if (r->tail - load(word(r, r->p.sq_off.head)) == r->p.sq_entries)
		return NULL;
	unsigned i = r->tail & (r->p.sq_entries - 1);
	unsigned *array = (unsigned *)(r->rings + r->p.sq_off.array);
	array[i] = i;
	r->tail++;
	memset(&r->sqes[i], 0, sizeof r->sqes[i]);
	return &r->sqes[i];
}

/* submit shows the kernel what next has handed out. */
static bool submit(struct ring *r, unsigned n)
{
	store(word(r, r->p.sq_off.tail), r->tail);
	if (r->p.flags & IORING_SETUP_SQPOLL) {
		/* The tail must be visible before we look whether anybody looks. */
		atomic_thread_fence(memory_order_seq_cst);
		if (load(word(r, r->p.sq_off.flags)) & IORING_SQ_NEED_WAKEUP)
			enter(r, 0, 0, IORING_ENTER_SQ_WAKEUP);
		return true;
	}
	while (n > 0) {
		int took = enter(r, n, 0, 0);
		n -= took > 0 ? took : 0;
	}
	return true;
}

/* reap reads all CQEs that are there, adds up their user_data, and gives the
 * slots back. It returns their number, or -1 while it is not written. */
static int reap(struct ring *r, unsigned long *sum)
{
	struct io_uring_cqe *cqes = (struct io_uring_cqe *)(r->rings + r->p.cq_off.cqes);
	unsigned head = load(word(r, r->p.cq_off.head));
	unsigned tail = load(word(r, r->p.cq_off.tail));
	int n = 0;
	for (; head != tail; head++, n++) {
		struct io_uring_cqe *c = &cqes[head & (r->p.cq_entries - 1)];
		if (c->res < 0)
			fprintf(stderr, "request %llu: %s\n", (unsigned long long)c->user_data, strerror(-c->res));
		*sum += c->user_data;
	}
	store(word(r, r->p.cq_off.head), head);
	return n;
}

/* flush moves completions that found no room into the completion queue. It
 * returns false while it is not written. */
static bool flush(struct ring *r)
{
	if (load(word(r, r->p.sq_off.flags)) & IORING_SQ_CQ_OVERFLOW)
		enter(r, 0, 0, IORING_ENTER_GETEVENTS);
	return true;
}

/* full is called when the SQ of an SQPOLL ring is full. inflight is the number
 * of requests whose CQE has not been reaped. It returns false while it is not
 * written. */
static bool full(struct ring *r, unsigned long inflight)
{
	/* With nothing in flight no CQE will ever come: the kernel thread has taken
	 * the SQEs and is about to publish sq.head. Look again. */
	if (inflight > 0)
		enter(r, 0, 1, IORING_ENTER_GETEVENTS);
	return true;
}

static void nops(struct ring *r, int n, unsigned long first)
{
	for (int i = 0; i < n; i++) {
		struct io_uring_sqe *s = next(r);
		if (!s) {
			fprintf(stderr, "the submission queue is full\n");
			exit(1);
		}
		s->opcode = IORING_OP_NOP;
		s->user_data = first + i;
	}
}

/* all pushes MANY requests through a ring of ENTRIES that a kernel thread polls. */
static void all(struct ring *r)
{
	unsigned long sent = 0, got = 0, sum = 0;
	alarm(15); /* whoever waits for what never comes is woken by this */
	while (got < MANY) {
		struct io_uring_sqe *s = NULL;
		while (sent < MANY && (s = next(r))) {
			s->opcode = IORING_OP_NOP;
			s->user_data = ++sent;
		}
		submit(r, 0);
		for (int look = 0; look < 1000 && got < sent; look++)
			got += reap(r, &sum);
		if (sent < MANY && !full(r, sent - got))
			stop("full");
	}
	alarm(0);
	printf("sqpoll: %lu of %d, sum %lu\n", got, MANY, sum);
}

int main(void)
{
	struct ring r;
	unsigned long sum = 0;

	if (!setup(&r, 0))
		stop("setup");
	printf("setup: fd %d, %u and %u entries\n", r.fd, r.p.sq_entries, r.p.cq_entries);
	printf("sq.head at %u, sq.tail at %u, cq.head at %u, cq.tail at %u\n", r.p.sq_off.head, r.p.sq_off.tail, r.p.cq_off.head, r.p.cq_off.tail);
	if (!map(&r))
		stop("map");
	printf("map: rings at %p, SQEs at %p\n", (void *)r.rings, (void *)r.sqes);

	nops(&r, 5, 1);
	if (!submit(&r, 5))
		stop("submit");
	printf("submit: 5 requests\n");
	int n = reap(&r, &sum);
	if (n < 0)
		stop("reap");
	printf("reap: %d of 5, sum %lu\n", n, sum);

	/* Three times 8 requests into a CQ of 16, and nobody reaps. */
	for (int i = 0; i < 3; i++) {
		nops(&r, ENTRIES, 100);
		submit(&r, ENTRIES);
	}
	int total = 0;
	sum = 0;
	while ((n = reap(&r, &sum)) > 0) {
		total += n;
		if (!flush(&r))
			stop("flush");
	}
	printf("overflow: %d of 24, sum %lu\n", total, sum);
	fflush(stdout);
	sleep(2); /* time to look at the ring */
	close(r.fd);

	if (!setup(&r, IORING_SETUP_SQPOLL) || !map(&r))
		stop("sqpoll");
	all(&r);
	return 0;
}
