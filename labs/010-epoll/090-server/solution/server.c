/*
 * An echo server: what a client sends comes back to it.
 *
 * One epoll instance, several threads in epoll_wait. A connection belongs to
 * one thread at a time, because EPOLLONESHOT disarms its item when an event is
 * handed out; the thread arms it again when it has nothing left to do.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { THREADS = 4, EVENTS = 64, BUFFER = 4096 };

/*
 * One buffer, which is either being filled or being emptied. While bytes wait
 * in it we read no more, so the socket fills up and TCP slows the client
 * down: a client that does not read costs 4 KiB and never more.
 */
struct connection {
	int fd;
	bool ended;      /* the client has said that it sends no more */
	size_t from, to; /* buffer[from..to) is read and not yet written back */
	char buffer[BUFFER];
};

enum outcome { WAIT, CLOSE };

static int epfd, listener;

/* A descriptor held back for the day when there are none left, see refuse. */
static int spare = -1;
static pthread_mutex_t spare_lock = PTHREAD_MUTEX_INITIALIZER;

static void die(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(1);
}

/* A process starts with a low limit of open files; it may raise it to the hard one by itself. */
static void raise_file_limit(void)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		die("getrlimit");
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
		die("setrlimit");
}

static int listen_on(int port)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
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

/*
 * What we wait for follows from the state: room to write while we owe bytes,
 * else something to read. EPOLLRDHUP is asked for until it has come, not
 * after: it stays true, and arming it again would wake us at once, for ever.
 *
 * EPOLLET says that we drain. Beside EPOLLONESHOT it changes nothing, since an
 * item that is disarmed is not put back on the ready list either way.
 */
static int arm(struct connection *c, int op)
{
	struct epoll_event e = { .events = EPOLLET | EPOLLONESHOT, .data.ptr = c };
	e.events |= c->from < c->to ? EPOLLOUT : EPOLLIN;
	if (!c->ended)
		e.events |= EPOLLRDHUP;
	return epoll_ctl(epfd, op, c->fd, &e);
}

/*
 * close takes the item out of the tree, since no other descriptor refers to
 * the file. Freeing is safe: an armed-once item is in the array of one thread
 * only, ours.
 */
static void drop(struct connection *c)
{
	close(c->fd);
	free(c);
}

/* Write what we owe. MSG_NOSIGNAL: a reset connection is an error here, not a SIGPIPE that ends the process. */
static enum outcome flush(struct connection *c)
{
	while (c->from < c->to) {
		ssize_t n = send(c->fd, c->buffer + c->from, c->to - c->from, MSG_NOSIGNAL);
		if (n >= 0)
			c->from += n;
		else if (errno == EAGAIN)
			return WAIT;
		else if (errno != EINTR)
			return CLOSE;
	}
	c->from = c->to = 0;
	return WAIT;
}

/* Read and write back until the kernel has no more for us, or takes no more from us. */
static enum outcome echo(struct connection *c)
{
	for (;;) {
		if (flush(c) == CLOSE)
			return CLOSE;
		if (c->from < c->to)
			return WAIT;
		ssize_t n = recv(c->fd, c->buffer, sizeof c->buffer, 0);
		if (n > 0)
			c->to = n;
		else if (n == 0)
			return CLOSE; /* all that came before the end is answered */
		else if (errno == EAGAIN)
			return WAIT;
		else if (errno != EINTR)
			return CLOSE;
	}
}

static void serve(struct connection *c, unsigned events)
{
	/* Only a note: bytes may have come with the end, and we may owe some. */
	if (events & EPOLLRDHUP)
		c->ended = true;
	/* EPOLL_CTL_MOD looks at the socket, so what came since the last recv is not missed. */
	if (echo(c) == CLOSE || arm(c, EPOLL_CTL_MOD) < 0)
		drop(c);
}

static void welcome(int fd)
{
	struct connection *c = malloc(sizeof *c);
	if (!c) {
		close(fd);
		return;
	}
	c->fd = fd;
	c->ended = false;
	c->from = c->to = 0;
	/* From here on another thread may have it already. */
	if (arm(c, EPOLL_CTL_ADD) < 0)
		drop(c);
}

/*
 * No descriptor is left, but the connection stands in the queue, and with
 * EPOLLET nobody will speak of it again. Give up the spare one, take the
 * connection with it, and close it: the client hears no at once.
 */
static bool refuse(void)
{
	pthread_mutex_lock(&spare_lock);
	close(spare);
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	if (fd >= 0)
		close(fd);
	spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
	pthread_mutex_unlock(&spare_lock);
	return fd >= 0;
}

/* The listener is edge-triggered too, so the queue is emptied. Several threads may do so at once; each gets its own. */
static void accept_all(void)
{
	for (;;) {
		/* On Linux the new socket does not inherit O_NONBLOCK. */
		int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd >= 0)
			welcome(fd);
		else if (errno == EMFILE || errno == ENFILE) {
			if (!refuse())
				return;
		} else if (errno != EINTR && errno != ECONNABORTED)
			return;
	}
}

static void *work(void *unused)
{
	(void)unused;
	for (;;) {
		struct epoll_event events[EVENTS];
		int n = epoll_wait(epfd, events, EVENTS, -1);
		if (n < 0 && errno != EINTR)
			die("epoll_wait");
		for (int i = 0; i < n; i++) {
			struct connection *c = events[i].data.ptr;
			if (c)
				serve(c, events[i].events);
			else
				accept_all();
		}
	}
	return NULL;
}

int main(int argc, char **argv)
{
	int port = argc > 1 ? atoi(argv[1]) : 9000;

	raise_file_limit();
	spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
	epfd = epoll_create1(EPOLL_CLOEXEC);
	if (epfd < 0)
		die("epoll_create1");
	listener = listen_on(port);
	struct epoll_event e = { .events = EPOLLIN | EPOLLET }; /* data.ptr is NULL: the listener */
	if (epoll_ctl(epfd, EPOLL_CTL_ADD, listener, &e) < 0)
		die("epoll_ctl");
	printf("listening on %d\n", port);
	fflush(stdout);

	for (int i = 1; i < THREADS; i++) {
		pthread_t thread;
		errno = pthread_create(&thread, NULL, work, NULL);
		if (errno)
			die("pthread_create");
	}
	work(NULL);
}
