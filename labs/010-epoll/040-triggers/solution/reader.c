// Two pipes, watched edge-triggered by one thread. A second thread sends each of
// them two bursts of 40 bytes. All 160 bytes are written; are they read?
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <unistd.h>

#define BURST 40
#define BURSTS 2

struct source {
	const char *name;
	int fd[2]; // read end, write end
	int got;   // bytes read so far
};

static struct source sources[] = {{.name = "A"}, {.name = "B"}};
#define SOURCES (sizeof sources / sizeof *sources)

// Writes to A, B, A, B, with a pause after each.
static void *sender(void *unused)
{
	static const char burst[BURST];

	for (int i = 0; i < BURSTS; i++) {
		for (unsigned s = 0; s < SOURCES; s++) {
			if (write(sources[s].fd[1], burst, BURST) != BURST)
				err(1, "write to %s", sources[s].name);
			usleep(100000);
		}
	}
	return unused;
}

// Something has arrived at s: read until there is nothing more, or the rest
// would wait for an event that nobody sends.
static void handle(struct source *s)
{
	char buf[16];

	for (;;) {
		ssize_t n = read(s->fd[0], buf, sizeof buf);

		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			err(1, "read from %s", s->name);
		if (n == 0)
			return; // the other end is closed
		s->got += n;
	}
	printf("%s: %d of %d bytes\n", s->name, s->got, BURST * BURSTS);
	fflush(stdout);
}

int main(void)
{
	int ep = epoll_create1(EPOLL_CLOEXEC);
	pthread_t thread;

	if (ep < 0)
		err(1, "epoll_create1");
	for (unsigned s = 0; s < SOURCES; s++) {
		struct epoll_event ev = {.events = EPOLLIN | EPOLLET, .data.ptr = &sources[s]};

		if (pipe2(sources[s].fd, O_NONBLOCK | O_CLOEXEC) < 0)
			err(1, "pipe2");
		if (epoll_ctl(ep, EPOLL_CTL_ADD, sources[s].fd[0], &ev) < 0)
			err(1, "epoll_ctl");
	}
	if (pthread_create(&thread, NULL, sender, NULL) != 0)
		errx(1, "no thread");

	for (;;) {
		struct epoll_event ev[8];
		int n = epoll_wait(ep, ev, 8, -1);

		for (int i = 0; i < n; i++)
			handle(ev[i].data.ptr);
	}
}
