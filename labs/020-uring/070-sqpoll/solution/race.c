/*
 * Five ways to read the same 512 MiB from the page cache, 4 or 128 KiB at a
 * time. What is measured is CPU time, that of our kernel threads included, and
 * how often we enter the kernel.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { SMALL = 4 << 10, LARGE = 128 << 10 };
static const long FILE_SIZE = 64 << 20, TOTAL = 512L << 20;

static int file;
static long calls;

static void die(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(1);
}

static char *memory(size_t n)
{
	char *m = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (m == MAP_FAILED)
		die("mmap");
	return m;
}

static void preads(size_t chunk)
{
	char *buf = memory(chunk);
	for (long at = 0; at < TOTAL; at += chunk, calls++)
		if (pread(file, buf, chunk, at % FILE_SIZE) != (ssize_t)chunk)
			die("pread");
	munmap(buf, chunk);
}

static void ring(unsigned entries, unsigned flags)
{
	struct io_uring_params p = { .flags = flags, .sq_thread_idle = 1000 };
	int fd = syscall(SYS_io_uring_setup, entries, &p);
	if (fd < 0)
		die("io_uring_setup");
	size_t sq = p.sq_off.array + p.sq_entries * sizeof(unsigned);
	size_t cq = p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe);
	size_t size = sq > cq ? sq : cq;
	char *r = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, IORING_OFF_SQ_RING);
	struct io_uring_sqe *sqes = mmap(NULL, p.sq_entries * sizeof *sqes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, IORING_OFF_SQES);
	if (r == MAP_FAILED || sqes == MAP_FAILED)
		die("mmap of a ring");
	unsigned *sq_head = (unsigned *)(r + p.sq_off.head), *sq_tail = (unsigned *)(r + p.sq_off.tail);
	unsigned *cq_head = (unsigned *)(r + p.cq_off.head), *cq_tail = (unsigned *)(r + p.cq_off.tail);
	unsigned *sq_flags = (unsigned *)(r + p.sq_off.flags), *array = (unsigned *)(r + p.sq_off.array);
	struct io_uring_cqe *cqes = (struct io_uring_cqe *)(r + p.cq_off.cqes);
	char *buf = memory((size_t)entries * SMALL);
	long want = TOTAL / SMALL, sent = 0, done = 0;

	while (done < want) {
		unsigned tail = *sq_tail, head = *cq_head, n = 0;
		/* A slot of the ring and of the buffer is free when its read was reaped. */
		while (sent < want && sent - done < entries && tail - __atomic_load_n(sq_head, __ATOMIC_ACQUIRE) < p.sq_entries) {
			unsigned i = tail & (p.sq_entries - 1);
			sqes[i] = (struct io_uring_sqe){
				.opcode = IORING_OP_READ, .fd = file, .len = SMALL, .off = sent * SMALL % FILE_SIZE,
				.addr = (unsigned long)buf + (sent % entries) * SMALL,
			};
			array[i] = i;
			tail++, sent++, n++;
		}
		__atomic_store_n(sq_tail, tail, __ATOMIC_RELEASE);
		if (flags & IORING_SETUP_SQPOLL) {
			__atomic_thread_fence(__ATOMIC_SEQ_CST);
			if (n && __atomic_load_n(sq_flags, __ATOMIC_RELAXED) & IORING_SQ_NEED_WAKEUP) {
				syscall(SYS_io_uring_enter, fd, 0, 0, IORING_ENTER_SQ_WAKEUP, NULL, 0);
				calls++;
			}
			if (__atomic_load_n(cq_tail, __ATOMIC_ACQUIRE) == head)
				sched_yield(); /* whoever has but two CPUs lets others run */
		} else {
			if (syscall(SYS_io_uring_enter, fd, n, n, IORING_ENTER_GETEVENTS, NULL, 0) < 0)
				die("io_uring_enter");
			calls++;
		}
		for (unsigned end = __atomic_load_n(cq_tail, __ATOMIC_ACQUIRE); head != end; head++, done++)
			if (cqes[head & (p.cq_entries - 1)].res != SMALL)
				die("a read was short");
		__atomic_store_n(cq_head, head, __ATOMIC_RELEASE);
	}
	munmap(buf, (size_t)entries * SMALL);
	munmap(r, size);
	munmap(sqes, p.sq_entries * sizeof *sqes);
	close(fd);
}

static double cpu(void)
{
	struct rusage u;
	getrusage(RUSAGE_SELF, &u);
	return u.ru_utime.tv_sec + u.ru_stime.tv_sec + (u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void run(int which)
{
	switch (which) {
	case 0: preads(SMALL); break;
	case 1: ring(16384, 0); break;
	case 2: ring(256, 0); break;
	case 3: ring(256, IORING_SETUP_SQPOLL); break;
	case 4: preads(LARGE); break;
	}
}

int main(void)
{
	static const char *const names[] = { "pread 4 KiB", "ring 16,384", "ring 256", "256, SQPOLL", "pread 128 KiB" };
	double best[5];
	long entered[5];

	file = open(".", O_TMPFILE | O_RDWR, 0600); /* a file without a name, in the page cache */
	if (file < 0)
		die("a temporary file here");
	char *page = memory(1 << 20);
	memset(page, 7, 1 << 20);
	for (long at = 0; at < FILE_SIZE; at += 1 << 20)
		if (pwrite(file, page, 1 << 20, at) != 1 << 20)
			die("writing the file");
	alarm(60);
	/* In turns, and of two the least: others have their share of the machine, too. */
	for (int round = 0; round < 2; round++)
		for (int i = 0; i < 5; i++) {
			calls = 0;
			double before = cpu();
			run(i);
			double took = cpu() - before;
			if (round == 0 || took < best[i])
				best[i] = took;
			entered[i] = calls;
		}
	printf("%-13s %7s %7s\n", "CPU time", "calls", "ms/GB");
	for (int i = 0; i < 5; i++)
		printf("%-13s %7ld %7.0f\n", names[i], entered[i], best[i] * 1e3 / (TOTAL / 1e9));
	return 0;
}
