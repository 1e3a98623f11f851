/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hash table from bytes to nodes that are embedded in the user's own structs. It grows a little with each call rather
 * than all at once, so that no request waits for a million keys to move.
 */
#ifndef KV_TABLE_H
#define KV_TABLE_H

#include <stddef.h>
#include <stdint.h>

/* Embed it as the first member; set key and key_len before inserting. */
struct table_node {
    struct table_node *next;
    uint64_t hash;
    const char *key;
    size_t key_len;
};

struct table {
    struct table_node **slots;     /* new nodes go here */
    struct table_node **old_slots; /* being emptied into `slots`; NULL most of the time */
    size_t size;                   /* a power of two, or 0 */
    size_t old_size;
    size_t moved; /* so many of the old slots are empty */
    size_t count; /* nodes */
    uint64_t seed[2];
};

/* The seed is secret: who does not know it cannot choose keys that all fall into one slot. */
void table_init(struct table *table, uint64_t seed_a, uint64_t seed_b);

/* Calls `free_node` for each node and frees the table. */
void table_deinit(struct table *table, void (*free_node)(struct table_node *node));

struct table_node *table_find(struct table *table, const char *key, size_t key_len);

/* Inserts a node whose key is not in the table. -ENOMEM: it was not inserted. */
int table_insert(struct table *table, struct table_node *node);

void table_remove(struct table *table, struct table_node *node);

#endif
