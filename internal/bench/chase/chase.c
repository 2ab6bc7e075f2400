/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * A plain pointer chase: N nodes of 128 bytes, as large as a struct epitem,
 * linked in random order. It is what memory lets one thread do that follows
 * pointers and has nothing to overlap.
 *
 *	chase N DROP_MIB CPU
 *
 * Reads commands from standard input, one a line, and answers each with one
 * line:
 *
 *	chase	follow all N pointers; answers the time in ns
 *	drop	read DROP_MIB of other memory, so that the nodes leave the caches
 *	quit
 */
#define _GNU_SOURCE
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct node {
	struct node *next;
	char rest[120];
};

static uint64_t now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ULL + t.tv_nsec;
}

static void *memory(size_t size)
{
	char *p = aligned_alloc(sizeof(struct node), size);
	if (!p) {
		perror("chase: aligned_alloc");
		exit(1);
	}
	memset(p, 1, size);
	return p;
}

int main(int argc, char **argv)
{
	if (argc != 4)
		return 2;
	size_t n = strtoul(argv[1], NULL, 10), drop = strtoul(argv[2], NULL, 10) << 20;
	int cpu = atoi(argv[3]);
	cpu_set_t set;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (n == 0 || sched_setaffinity(0, sizeof(set), &set))
		return 2;

	struct node *nodes = memory(n * sizeof(*nodes));
	char *other = drop ? memory(drop) : NULL;
	uint32_t *order = memory(n * sizeof(*order));
	uint64_t random = 88172645463325252ULL;
	for (size_t i = 0; i < n; i++)
		order[i] = i;
	/* Sattolo: one cycle through all nodes. */
	for (size_t i = n - 1; i > 0; i--) {
		random ^= random << 13, random ^= random >> 7, random ^= random << 17;
		size_t j = random % i;
		uint32_t t = order[i];
		order[i] = order[j];
		order[j] = t;
	}
	for (size_t i = 0; i < n; i++)
		nodes[order[i]].next = &nodes[order[(i + 1) % n]];
	free(order);

	volatile uint64_t sink = 0;
	char line[16];
	while (fgets(line, sizeof(line), stdin)) {
		uint64_t began = now(), took;
		if (!strcmp(line, "chase\n")) {
			struct node *p = nodes;
			for (size_t i = 0; i < n; i++)
				p = p->next;
			took = now() - began;
			sink += (uintptr_t)p;
		} else if (!strcmp(line, "drop\n")) {
			uint64_t sum = 0;
			for (size_t i = 0; i < drop; i += 64)
				sum += other[i];
			took = now() - began;
			sink += sum;
		} else {
			break;
		}
		printf("%llu\n", (unsigned long long)took);
		fflush(stdout);
	}
	return 0;
}
