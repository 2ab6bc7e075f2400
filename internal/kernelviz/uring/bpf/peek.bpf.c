/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Copies one struct of the kernel, for the card that shows its fields.
 */
#include "../../kernel/bpf/core.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define MAX_STRUCT 4096

struct peek_args {
	u64 addr;
	u32 size; /* at most MAX_STRUCT */
	s32 err;
};

struct peek_bytes {
	u8 bytes[MAX_STRUCT];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct peek_bytes);
} peeked SEC(".maps");

SEC("syscall")
int peek(struct peek_args *a)
{
	u32 zero = 0, size = a->size;
	struct peek_bytes *p = bpf_map_lookup_elem(&peeked, &zero);

	if (!p)
		return 0;
	if (size > sizeof(p->bytes))
		size = sizeof(p->bytes);
	a->err = bpf_probe_read_kernel(p->bytes, size, (void *)a->addr);
	return 0;
}
