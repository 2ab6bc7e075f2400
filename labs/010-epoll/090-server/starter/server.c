/*
 * An echo server: what a client sends comes back to it.
 *
 * It works, for one polite client at a time. The lesson takes it through five
 * changes; each TODO below belongs to one of them. The kernel checks the
 * result, so do it in your own way where you know a better one.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENTS = 64, BUFFER = 512 };

static int epfd, listener;

static void die(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(1);
}

static int listen_on(int port)
{
	/* TODO nonblocking: SOCK_NONBLOCK | SOCK_CLOEXEC beside SOCK_STREAM. */
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	if (fd < 0)
		die("socket");
	int on = 1;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	struct sockaddr_in at = {
		.sin_family = AF_INET,
		.sin_port = htons(port),
		.sin_addr.s_addr = htonl(INADDR_ANY),
	};
	if (bind(fd, (struct sockaddr *)&at, sizeof at) < 0)
		die("bind");
	if (listen(fd, SOMAXCONN) < 0)
		die("listen");
	return fd;
}

static void watch(int fd, unsigned events)
{
	struct epoll_event e = { .events = events, .data.fd = fd };
	if (epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &e) < 0)
		die("epoll_ctl");
}

static void accept_one(void)
{
	/* TODO nonblocking: accept4, and until EAGAIN. */
	int fd = accept(listener, NULL, NULL);
	if (fd < 0)
		return;
	/* TODO edge: EPOLLET. TODO half-close: EPOLLRDHUP. TODO threads: EPOLLONESHOT. */
	watch(fd, EPOLLIN);
}

static void serve(int fd)
{
	char buffer[BUFFER];

	/* TODO edge: one read is no longer enough. */
	ssize_t n = read(fd, buffer, sizeof buffer);
	if (n <= 0) {
		close(fd);
		return;
	}
	/* TODO nonblocking: write may now take less than n, or nothing. Keep the rest and wait for EPOLLOUT. */
	if (write(fd, buffer, n) < 0)
		close(fd);
}

int main(int argc, char **argv)
{
	int port = argc > 1 ? atoi(argv[1]) : 9000;

	epfd = epoll_create1(EPOLL_CLOEXEC);
	if (epfd < 0)
		die("epoll_create1");
	listener = listen_on(port);
	watch(listener, EPOLLIN);
	printf("listening on %d\n", port);
	fflush(stdout);

	/* TODO threads: several threads in this loop. */
	for (;;) {
		struct epoll_event events[EVENTS];
		int n = epoll_wait(epfd, events, EVENTS, -1);
		for (int i = 0; i < n; i++) {
			if (events[i].data.fd == listener)
				accept_one();
			else
				serve(events[i].data.fd);
		}
	}
}
