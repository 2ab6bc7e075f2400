/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Catches what the lists and the wait queue of watched eventpolls do between
 * two snapshots. Two tracepoints look at them: sched_waking fires inside
 * ep_poll_callback after the item was linked, before the waiter can take it;
 * sys_exit of the writing thread sees items that came while nobody slept. Both
 * run on every task of the machine while attached, so they compare four words
 * and leave.
 */
#include "eventpoll.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define MAX_SLOTS 8

enum {
	CAUSE_SYS_EXIT = 0,
	CAUSE_SCHED_WAKING = 1,
};

/*
 * The eventpolls to look at; 0 is none. Written by the loader alone, as slots
 * is by the programs alone: neither overwrites what the other counts.
 */
u64 eventpolls[MAX_SLOTS];
u32 slot_count;

/* No eventpoll: another CPU is making the slot ready. */
#define STARTING 1

/* A watched eventpoll and its words when last looked at. */
struct watched {
	u64 ep;
	u64 first;
	u64 last;
	u64 ovflist;
	u64 waiter;
	/* Never reset: the loader remembers where its eventpoll began. */
	u64 seq;
	u64 lost; /* transitions for which the ring had no room */
};

struct watched slots[MAX_SLOTS];

#define RING_SIZE (256 * 1024)
#define WAKEUP_GAP 8000000ULL      /* ns */
#define FULL_WAKEUP_GAP 250000ULL  /* while the ring is more than half full */

u64 last_wakeup;

/* Mirrored by rawTransition in Go. */
struct transition {
	u64 time;
	u64 ep;
	u64 item; /* the new tail of rdllist; 0 if none */
	u64 seq;
	s32 fd;
	u32 tid;
	u16 what;
	u8 cause;
	u8 pad[5];
};

/* Keeps the struct in the object's BTF, for bpf2go. */
const struct transition *transition_layout __attribute__((unused));

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, RING_SIZE);
} transitions SEC(".maps");

/*
 * What the programs cost, by one run in TIMED_EVERY. The kernel's own BPF
 * statistics would slow every program of the machine down, and switching them
 * on and off patches its text.
 */
#define TIMED_EVERY 64

struct cost {
	u64 runs;
	u64 ns; /* in those that were timed */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct cost);
} spent SEC(".maps");

/*
 * Two CPUs may look at the same change at once: the one that takes a word from
 * what was known to what is, tells of it.
 */
#define TOOK(word, known) \
	((word) != (known) && __sync_val_compare_and_swap(&w->word, known, word) == (known))

static __always_inline void look(struct watched *w, u64 ep, u8 cause)
{
	u64 first = 0, last = 0, ovflist = 0, waiter = 0;

	/* The first look at an eventpoll reports its state as it is. */
	u64 known = w->ep;
	if (known != ep) {
		if (known == STARTING || __sync_val_compare_and_swap(&w->ep, known, STARTING) != known)
			return;
		w->first = w->last = w->waiter = 0;
		w->ovflist = EP_UNACTIVE;
		__sync_lock_test_and_set(&w->ep, ep);
	}

	/* Known first, then what is: a change between the two is seen next time. */
	u64 first0 = w->first, last0 = w->last, ovflist0 = w->ovflist, waiter0 = w->waiter;
	READ(first, struct eventpoll, ep, rdllist.next);
	READ(last, struct eventpoll, ep, rdllist.prev);
	READ(ovflist, struct eventpoll, ep, ovflist);
	READ(waiter, struct eventpoll, ep, wq.head.next);
	if (first == first0 && last == last0 && ovflist == ovflist0 && waiter == waiter0)
		return;

	u64 list = ep + bpf_core_field_offset(struct eventpoll, rdllist);
	u64 queue = ep + bpf_core_field_offset(struct eventpoll, wq.head);
	u16 what = 0;
	if (TOOK(last, last0) && last != list)
		what |= TRANSITION_READY;
	if (TOOK(first, first0) && first == list)
		what |= TRANSITION_EMPTIED;
	if (TOOK(ovflist, ovflist0)) {
		if (ovflist0 == EP_UNACTIVE)
			what |= TRANSITION_SCAN;
		if (ovflist == EP_UNACTIVE)
			what |= TRANSITION_SCAN_END;
		else if (ovflist)
			what |= TRANSITION_OVERFLOW;
	}
	if (TOOK(waiter, waiter0))
		what |= waiter == queue ? TRANSITION_WAKEUP : TRANSITION_SLEEP;
	if (!what)
		return;

	u64 seq = __sync_fetch_and_add(&w->seq, 1);
	struct transition *t = bpf_ringbuf_reserve(&transitions, sizeof(*t), 0);
	if (!t) {
		__sync_fetch_and_add(&w->lost, 1);
		return;
	}
	t->time = bpf_ktime_get_ns();
	t->ep = ep;
	t->seq = seq;
	t->item = 0;
	t->fd = -1;
	t->tid = (u32)bpf_get_current_pid_tgid();
	t->what = what;
	t->cause = cause;
	if (what & TRANSITION_READY) {
		u64 item = last - bpf_core_field_offset(struct epitem, rdllink);
		s32 fd = -1;
		READ(fd, struct epitem, item, ffd.fd);
		t->item = item;
		t->fd = fd;
	}
	/*
	 * Waking the reader costs the thread that is being watched, so it is
	 * done seldom; the rest is read with the next sample. A ring that fills
	 * up before cannot wake anybody any more.
	 */
	u64 wakeup = BPF_RB_NO_WAKEUP, gap = t->time - last_wakeup;
	if (gap > WAKEUP_GAP ||
	    (gap > FULL_WAKEUP_GAP && bpf_ringbuf_query(&transitions, BPF_RB_AVAIL_DATA) > RING_SIZE / 2)) {
		last_wakeup = t->time;
		wakeup = BPF_RB_FORCE_WAKEUP;
	}
	bpf_ringbuf_submit(t, wakeup);
}

static __always_inline void look_at_all(u8 cause)
{
	u32 n = slot_count, zero = 0;
	struct cost *s = bpf_map_lookup_elem(&spent, &zero);
	u64 began = 0;

	if (s && ++s->runs % TIMED_EVERY == 0)
		began = bpf_ktime_get_ns();
	for (u32 i = 0; i < MAX_SLOTS; i++) {
		if (i >= n)
			break;
		u64 ep = eventpolls[i];
		if (ep)
			look(&slots[i], ep, cause);
	}
	if (s && began)
		s->ns += bpf_ktime_get_ns() - began;
}

SEC("tp_btf/sys_exit")
int sys_exit(void *ctx)
{
	look_at_all(CAUSE_SYS_EXIT);
	return 0;
}

SEC("tp_btf/sched_waking")
int sched_waking(void *ctx)
{
	look_at_all(CAUSE_SCHED_WAKING);
	return 0;
}
