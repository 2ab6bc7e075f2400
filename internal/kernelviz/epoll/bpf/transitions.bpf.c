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

/* A watched eventpoll and its words when last looked at. */
struct watched {
	u64 ep;
	u64 first;
	u64 last;
	u64 ovflist;
	u64 waiter;
	u64 seq;
	u64 lost; /* transitions for which the ring had no room */
};

#define WAKEUP_GAP 8000000ULL /* ns */

u64 last_wakeup;
struct watched slots[MAX_SLOTS];
u32 slot_count;

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
	__uint(max_entries, 256 * 1024);
} transitions SEC(".maps");

static __always_inline void look(struct watched *w, u8 cause)
{
	u64 first = 0, last = 0, ovflist = 0, waiter = 0;
	u64 ep = w->ep;

	READ(first, struct eventpoll, ep, rdllist.next);
	READ(last, struct eventpoll, ep, rdllist.prev);
	READ(ovflist, struct eventpoll, ep, ovflist);
	READ(waiter, struct eventpoll, ep, wq.head.next);
	if (first == w->first && last == w->last && ovflist == w->ovflist && waiter == w->waiter)
		return;

	u64 list = ep + bpf_core_field_offset(struct eventpoll, rdllist);
	u64 queue = ep + bpf_core_field_offset(struct eventpoll, wq.head);
	u16 what = 0;
	if (last != w->last && last != list)
		what |= TRANSITION_READY;
	if (first == list && w->first != list)
		what |= TRANSITION_EMPTIED;
	if (ovflist != EP_UNACTIVE && w->ovflist == EP_UNACTIVE)
		what |= TRANSITION_SCAN;
	if (ovflist == EP_UNACTIVE && w->ovflist != EP_UNACTIVE)
		what |= TRANSITION_SCAN_END;
	if (ovflist != w->ovflist && ovflist != EP_UNACTIVE && ovflist)
		what |= TRANSITION_OVERFLOW;
	if (waiter != queue && waiter != w->waiter)
		what |= TRANSITION_SLEEP;
	if (waiter == queue && w->waiter != queue)
		what |= TRANSITION_WAKEUP;
	w->first = first;
	w->last = last;
	w->ovflist = ovflist;
	w->waiter = waiter;
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
	 * done seldom; the rest is read with the next sample.
	 */
	u64 wakeup = BPF_RB_NO_WAKEUP;
	if (t->time - last_wakeup > WAKEUP_GAP) {
		last_wakeup = t->time;
		wakeup = BPF_RB_FORCE_WAKEUP;
	}
	bpf_ringbuf_submit(t, wakeup);
}

static __always_inline void look_at_all(u8 cause)
{
	u32 n = slot_count;
	for (u32 i = 0; i < MAX_SLOTS; i++) {
		if (i >= n)
			return;
		if (slots[i].ep)
			look(&slots[i], cause);
	}
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
