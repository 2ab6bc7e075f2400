/*
 * A program that never enters the kernel to reap: a kernel thread takes the
 * SQEs (IORING_SETUP_SQPOLL), and the program watches cq.tail.
 *
 * 1,000 rounds of 8 requests. Each request carries a number; at the end the
 * sum of the numbers that came back must be that of the numbers sent.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/io_uring.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { BATCH = 8, ROUNDS = 1000 };

static int fd;
static struct io_uring_params p;
static char *rings;
static struct io_uring_sqe *sqes;
static struct io_uring_cqe *cqes;

static void die(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(1);
}

/* at is one of the words that the kernel and we share. */
static unsigned *at(unsigned offset) { return (unsigned *)(rings + offset); }

static void make_ring(void)
{
	p.flags = IORING_SETUP_SQPOLL | IORING_SETUP_CQSIZE;
	p.cq_entries = BATCH; /* no room to spare */
	p.sq_thread_idle = 500;
	fd = syscall(SYS_io_uring_setup, BATCH, &p);
	if (fd < 0)
		die("io_uring_setup");
	size_t sq = p.sq_off.array + p.sq_entries * sizeof(unsigned);
	size_t cq = p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe);
	rings = mmap(NULL, sq > cq ? sq : cq, PROT_READ | PROT_WRITE, MAP_SHARED, fd, IORING_OFF_SQ_RING);
	sqes = mmap(NULL, p.sq_entries * sizeof *sqes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, IORING_OFF_SQES);
	if (rings == MAP_FAILED || sqes == MAP_FAILED)
		die("mmap");
	cqes = (struct io_uring_cqe *)(rings + p.cq_off.cqes);
}

/* send fills a batch of SQEs and publishes them. */
static void send(unsigned long first)
{
	unsigned tail = *at(p.sq_off.tail); /* ours: nobody else writes it */

	/* sq.head may be published a moment after the last CQE. */
	while (tail - __atomic_load_n(at(p.sq_off.head), __ATOMIC_ACQUIRE) > p.sq_entries - BATCH)
		;
	for (int i = 0; i < BATCH; i++, tail++) {
		unsigned slot = tail & (p.sq_entries - 1);
		memset(&sqes[slot], 0, sizeof sqes[slot]);
		sqes[slot].opcode = IORING_OP_NOP;
		sqes[slot].user_data = first + i;
		at(p.sq_off.array)[slot] = slot;
	}
	__atomic_store_n(at(p.sq_off.tail), tail, __ATOMIC_RELEASE);
	/* A store and a later load of another word: the one order that even x86
	 * does not promise. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (__atomic_load_n(at(p.sq_off.flags), __ATOMIC_RELAXED) & IORING_SQ_NEED_WAKEUP)
		syscall(SYS_io_uring_enter, fd, 0, 0, IORING_ENTER_SQ_WAKEUP, NULL, 0);
}

/* await waits until a batch of completions is there. */
static void await(void)
{
	unsigned head = *at(p.cq_off.head);

	while (__atomic_load_n(at(p.cq_off.tail), __ATOMIC_ACQUIRE) - head < BATCH)
		;
}

/* work is what the program does with a completion; it takes a while. */
static unsigned long work(struct io_uring_cqe *c)
{
	for (volatile int i = 0; i < 4000; i++)
		;
	return c->user_data;
}

/* take reads a batch, gives its slots back, and keeps the kernel busy with the
 * next one. */
static unsigned long take(unsigned long next)
{
	unsigned head = *at(p.cq_off.head);
	unsigned long sum = 0;

	for (unsigned i = 0; i < BATCH; i++)
		sum += work(&cqes[(head + i) & (p.cq_entries - 1)]);
	__atomic_store_n(at(p.cq_off.head), head + BATCH, __ATOMIC_RELEASE);
	if (next)
		send(next);
	return sum;
}

int main(void)
{
	unsigned long sent = 0, sum = 0, next = 1;

	make_ring();
	alarm(20); /* whoever waits for ever is woken by this */
	send(next);
	for (int round = 0; round < ROUNDS; round++) {
		await();
		for (int i = 0; i < BATCH; i++)
			sent += next++;
		sum += take(round < ROUNDS - 1 ? next : 0);
	}
	printf("%d rounds\n", ROUNDS);
	printf("sum %lu, sent %lu: %s\n", sum, sent, sum == sent ? "all came back" : "something was overwritten");
	return sum != sent;
}
