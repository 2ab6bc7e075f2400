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
	/* TODO setup: SYS_io_uring_setup with ENTRIES and &r->p; its result is r->fd. */
	return false;
}

/* map brings both mappings into our memory. */
static bool map(struct ring *r)
{
	/*
	 * TODO map: two mappings of r->fd, shared, for reading and writing.
	 * r->rings at IORING_OFF_SQ_RING must reach past the sq_array (r->p.sq_off.array,
	 * sq_entries words) and past the CQEs (r->p.cq_off.cqes, cq_entries structs).
	 * r->sqes at IORING_OFF_SQES has sq_entries structs.
	 */
	(void)r;
	return false;
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
	/*
	 * TODO submit: publish r->tail in the word at r->p.sq_off.tail, then let the
	 * kernel take n. It may take fewer: ask again for the rest.
	 * TODO sqpoll: a ring with IORING_SETUP_SQPOLL is not entered, unless its
	 * thread sleeps (IORING_SQ_NEED_WAKEUP at r->p.sq_off.flags). Mind the order
	 * of your store and that load.
	 */
	(void)r;
	(void)n;
	(void)store;
	return false;
}

/* reap reads all CQEs that are there, adds up their user_data, and gives the
 * slots back. It returns their number, or -1 while it is not written. */
static int reap(struct ring *r, unsigned long *sum)
{
	/*
	 * TODO reap: from cq.head (r->p.cq_off.head) to cq.tail; the CQE of position i
	 * lies at cqes[i & (cq_entries - 1)]. Read first, then give the slots back.
	 */
	(void)r;
	(void)sum;
	return -1;
}

/* flush moves completions that found no room into the completion queue. It
 * returns false while it is not written. */
static bool flush(struct ring *r)
{
	/* TODO overflow: if the kernel says IORING_SQ_CQ_OVERFLOW, enter with IORING_ENTER_GETEVENTS. */
	(void)r;
	return false;
}

/* full is called when the SQ of an SQPOLL ring is full. inflight is the number
 * of requests whose CQE has not been reaped. It returns false while it is not
 * written. */
static bool full(struct ring *r, unsigned long inflight)
{
	/* TODO sqpoll: is this always right? It waits until one CQE is there. */
	(void)inflight;
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
