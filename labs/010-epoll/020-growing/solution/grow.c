// What does a call cost in an instance with n items?
#include <err.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>

#define MOST 10000
#define BATCHES 20
#define ROUNDS 1000 // of each batch

static int fds[MOST];

// CPU time of this thread, in nanoseconds.
static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return t.tv_sec * 1e9 + t.tv_nsec;
}

static void ctl(int ep, int op, int fd)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.fd = fd};

	if (epoll_ctl(ep, op, fd, &ev) < 0)
		err(1, "epoll_ctl");
}

int main(void)
{
	int ep = epoll_create1(EPOLL_CLOEXEC);
	int ready = eventfd(1, EFD_NONBLOCK); // the one that always has something
	struct epoll_event ev[8];
	int n = 0;

	ctl(ep, EPOLL_CTL_ADD, ready);
	printf("     n   DEL + ADD   epoll_wait   (ns, best of %d)\n", BATCHES);
	for (int size = 10; size <= MOST; size *= 10) {
		double change = 1e18, wait = 1e18, t;

		for (; n < size; n++) {
			if ((fds[n] = eventfd(0, EFD_NONBLOCK)) < 0)
				err(1, "eventfd %d", n);
			ctl(ep, EPOLL_CTL_ADD, fds[n]);
		}
		for (int b = 0; b < BATCHES; b++) {
			t = now();
			for (int i = 0; i < ROUNDS; i++) {
				int fd = fds[rand() % n];

				ctl(ep, EPOLL_CTL_DEL, fd);
				ctl(ep, EPOLL_CTL_ADD, fd);
			}
			t = (now() - t) / ROUNDS;
			change = t < change ? t : change;

			t = now();
			for (int i = 0; i < ROUNDS; i++)
				if (epoll_wait(ep, ev, 8, 0) != 1)
					errx(1, "epoll_wait");
			t = (now() - t) / ROUNDS;
			wait = t < wait ? t : wait;
		}
		printf("%6d %11.0f %12.0f\n", n, change, wait);
	}
	return 0;
}
