// What becomes of an event that arrives while epoll_wait hands out others?
//
// BUSY descriptors are always ready: the more there are, the more of its time main
// spends in scans of the ready list. A second thread writes to one more descriptor,
// now and then, without asking what main is doing.
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <err.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define BUSY 1000
#define WRITES 500

static int quiet; // the eventfd that the thread writes to
static atomic_int written, seen;

static void *writer(void *unused)
{
	uint64_t one = 1;

	for (int i = 0; i < WRITES; i++) {
		while (atomic_load(&seen) < i)
			usleep(50);
		usleep(rand() % 300); // main is somewhere in its loop by then
		if (write(quiet, &one, sizeof one) != sizeof one)
			err(1, "write");
		atomic_fetch_add(&written, 1);
	}
	return unused;
}

static void add(int ep, int fd, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.fd = fd};

	if (epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev) < 0)
		err(1, "epoll_ctl");
}

int main(void)
{
	static struct epoll_event ev[BUSY + 1];
	int ep = epoll_create1(EPOLL_CLOEXEC);
	int first = 0, last = 0, between = 0;
	pthread_t thread;
	uint64_t value;

	for (int i = 0; i < BUSY; i++)
		add(ep, eventfd(0, EFD_NONBLOCK), EPOLLOUT); // level-triggered, and always writable
	quiet = eventfd(0, EFD_NONBLOCK);
	add(ep, quiet, EPOLLIN | EPOLLET);
	if (pthread_create(&thread, NULL, writer, NULL) != 0)
		errx(1, "no thread");

	for (int idle = 0; atomic_load(&seen) < WRITES && idle < 2000000; idle++) {
		int n = epoll_wait(ep, ev, BUSY + 1, 0);

		for (int i = 0; i < n; i++) {
			if (ev[i].data.fd != quiet)
				continue;
			if (read(quiet, &value, sizeof value) != sizeof value)
				err(1, "read");
			if (i == 0)
				first++;
			else if (i == n - 1)
				last++;
			else
				between++;
			atomic_fetch_add(&seen, 1);
			idle = 0;
		}
	}
	pthread_join(thread, NULL);
	printf("busy %d: %d writes, reported first %d, last %d, between %d, lost %d\n", BUSY,
	       atomic_load(&written), first, last, between, atomic_load(&written) - atomic_load(&seen));
	return 0;
}
