/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* fs/eventpoll.c: the structs behind an epoll instance. */
#ifndef KERNELVIZ_EVENTPOLL_H
#define KERNELVIZ_EVENTPOLL_H

#include "../../kernel/bpf/core.h"

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct epoll_filefd {
	struct file *file;
	int fd;
};

struct epoll_event {
	u32 events;
	u64 data;
};

struct epitem {
	struct rb_node rbn;
	struct list_head rdllink;
	struct epitem *ovflist_next; /* since 6.18; before: next */
	struct epoll_filefd ffd;
	struct eventpoll *ep;
	struct epoll_event event;
};

/* struct epitem while the chain of ovflist was called next. */
struct epitem___next {
	struct epitem *next;
};

struct eventpoll {
	struct mutex mtx;
	struct wait_queue_head wq;
	struct wait_queue_head poll_wait;
	struct list_head rdllist;
	struct rb_root_cached rbr;
	struct epitem *ovflist;
	struct file *file;
	refcount_t refcount; /* one per epitem and one for the file; not on every kernel */
};

#pragma clang attribute pop

/* EP_UNACTIVE_PTR: not on ovflist; in ep->ovflist: no scan is in progress. */
#define EP_UNACTIVE (~0ULL)

/* What a ready list, ovflist or wait queue was caught with; wire.Transition*. */
enum {
	TRANSITION_READY = 1 << 0,
	TRANSITION_EMPTIED = 1 << 1,
	TRANSITION_SCAN = 1 << 2,
	TRANSITION_SCAN_END = 1 << 3,
	TRANSITION_SLEEP = 1 << 4,
	TRANSITION_WAKEUP = 1 << 5,
	TRANSITION_OVERFLOW = 1 << 6,
};

static __always_inline u64 ovflist_next_offset(void)
{
	if (bpf_core_field_exists(struct epitem, ovflist_next))
		return bpf_core_field_offset(struct epitem, ovflist_next);
	return bpf_core_field_offset(struct epitem___next, next);
}

#endif
