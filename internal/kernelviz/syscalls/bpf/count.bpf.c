/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Counts system calls of groups of processes. The tracepoint sys_enter runs for
 * every system call of the machine while the program is attached; preemption is
 * off in it, so that a counter per CPU needs no atomic operation.
 */
#include "../../kernel/bpf/core.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define MAX_GROUPS 8

/* Calls by number; the last two are the calls of 32-bit programs, whose numbers
 * mean others, and those with larger numbers. */
#define MAX_CALLS 512
#define CALL_COMPAT (MAX_CALLS - 2)
#define CALL_OTHER (MAX_CALLS - 1)

struct calls {
	u64 by_number[MAX_CALLS];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, MAX_GROUPS);
	__type(key, u32);
	__type(value, struct calls);
} counts SEC(".maps");

/* Groups as bits, by thread group id and by id of the cgroup at their top. */
#define MAP_TYPE_HASH 1 /* BPF_MAP_TYPE_HASH */

struct {
	__uint(type, MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, u32);
	__type(value, u32);
} pids SEC(".maps");

struct {
	__uint(type, MAP_TYPE_HASH);
	__uint(max_entries, MAX_GROUPS);
	__type(key, u64);
	__type(value, u32);
} cgroups SEC(".maps");

/* Written by the loader: is any group one of processes, of cgroups? */
u32 by_pid;
u32 by_cgroup;

/* The groups of a cgroup, which may be far above it: worked out once. */
struct membership {
	u32 groups;
	u32 generation;
};

#define MAP_TYPE_LRU_HASH 9 /* BPF_MAP_TYPE_LRU_HASH */

struct {
	__uint(type, MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, u64);
	__type(value, struct membership);
} memberships SEC(".maps");

/* Counted up by the loader when groups come or go. */
u32 generation;

/* Deeper hierarchies are not looked at beyond this level. */
#define MAX_LEVEL 16

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct thread_info {
	unsigned long flags;
	u32 status; /* x86 */
};

struct task_struct___compat {
	struct thread_info thread_info;
};

#pragma clang attribute pop

static __always_inline bool is_compat(void)
{
#if defined(__TARGET_ARCH_x86)
	u32 status = BPF_CORE_READ((struct task_struct___compat *)bpf_get_current_task(), thread_info.status);
	return status & 0x2; /* TS_COMPAT */
#elif defined(__TARGET_ARCH_arm64)
	u64 flags = BPF_CORE_READ((struct task_struct___compat *)bpf_get_current_task(), thread_info.flags);
	return flags & (1 << 22); /* TIF_32BIT */
#else
	return false;
#endif
}

static __always_inline u32 cgroup_groups(void)
{
	u64 id = bpf_get_current_cgroup_id();
	struct membership *known = bpf_map_lookup_elem(&memberships, &id);
	u32 now = generation;

	if (known && known->generation == now)
		return known->groups;
	struct membership m = {.generation = now};
	for (int level = 0; level < MAX_LEVEL; level++) {
		u64 above = bpf_get_current_ancestor_cgroup_id(level);
		if (!above)
			break;
		u32 *groups = bpf_map_lookup_elem(&cgroups, &above);
		if (groups)
			m.groups |= *groups;
	}
	bpf_map_update_elem(&memberships, &id, &m, 0);
	return m.groups;
}

/* (struct pt_regs *regs, long id) */
SEC("tp_btf/sys_enter")
int sys_enter(u64 *ctx)
{
	u64 number = ctx[1];
	u32 groups = 0;

	if (by_pid) {
		u32 pid = bpf_get_current_pid_tgid() >> 32;
		u32 *of = bpf_map_lookup_elem(&pids, &pid);
		if (of)
			groups = *of;
	}
	if (by_cgroup)
		groups |= cgroup_groups();
	if (!groups)
		return 0;
	if (is_compat())
		number = CALL_COMPAT;
	else if (number >= CALL_COMPAT)
		number = CALL_OTHER;
	for (u32 i = 0; i < MAX_GROUPS; i++) {
		if (!(groups & (1U << i)))
			continue;
		u32 key = i;
		struct calls *c = bpf_map_lookup_elem(&counts, &key);
		if (c && number < MAX_CALLS)
			c->by_number[number]++;
	}
	return 0;
}
