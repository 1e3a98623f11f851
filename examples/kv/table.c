/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The hash table: chains, a power-of-two number of slots, SipHash-1-3 of the key.
 *
 * When there are as many nodes as slots, a table of twice the size is made, and from then on each call moves a few
 * slots of the old one. All old slots are empty before the new table is full: every insertion moves two.
 *
 * Invariant: a node is in the old table exactly where its old slot has not been moved yet.
 */
#include "table.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_SIZE 64
#define MOVES 2

static uint64_t rotate(uint64_t x, unsigned bits)
{
    return (x << bits) | (x >> (64 - bits));
}

static void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[1] = rotate(v[1], 13) ^ v[0];
    v[0] = rotate(v[0], 32);
    v[2] += v[3];
    v[3] = rotate(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = rotate(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = rotate(v[1], 17) ^ v[2];
    v[2] = rotate(v[2], 32);
}

static uint64_t hash_of(const struct table *table, const char *key, size_t key_len)
{
    uint64_t v[4] = {
        table->seed[0] ^ UINT64_C(0x736f6d6570736575),
        table->seed[1] ^ UINT64_C(0x646f72616e646f6d),
        table->seed[0] ^ UINT64_C(0x6c7967656e657261),
        table->seed[1] ^ UINT64_C(0x7465646279746573),
    };
    uint64_t word;
    size_t pos = 0;
    for (; key_len - pos >= sizeof(word); pos += sizeof(word)) {
        memcpy(&word, key + pos, sizeof(word));
        v[3] ^= word;
        sip_round(v);
        v[0] ^= word;
    }
    word = 0;
    memcpy(&word, key + pos, key_len - pos);
    word ^= (uint64_t)key_len << 56;
    v[3] ^= word;
    sip_round(v);
    v[0] ^= word;
    v[2] ^= 0xff;
    for (int i = 0; i < 3; i++)
        sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

void table_init(struct table *table, uint64_t seed_a, uint64_t seed_b)
{
    memset(table, 0, sizeof(*table));
    table->seed[0] = seed_a;
    table->seed[1] = seed_b;
}

static void free_chains(struct table_node **slots, size_t size, void (*free_node)(struct table_node *node))
{
    for (size_t i = 0; i < size; i++) {
        struct table_node *node = slots[i];
        while (node) {
            struct table_node *next = node->next;
            free_node(node);
            node = next;
        }
    }
    free(slots);
}

void table_deinit(struct table *table, void (*free_node)(struct table_node *node))
{
    free_chains(table->old_slots, table->old_size, free_node);
    free_chains(table->slots, table->size, free_node);
    table_init(table, 0, 0);
}

/* Moves a few slots of the old table. */
static void move_some(struct table *table)
{
    if (!table->old_slots)
        return;
    for (int i = 0; i < MOVES && table->moved < table->old_size; i++) {
        struct table_node *node = table->old_slots[table->moved];
        table->old_slots[table->moved++] = NULL;
        while (node) {
            struct table_node *next = node->next;
            struct table_node **slot = &table->slots[node->hash & (table->size - 1)];
            node->next = *slot;
            *slot = node;
            node = next;
        }
    }
    if (table->moved == table->old_size) {
        free(table->old_slots);
        table->old_slots = NULL;
        table->old_size = 0;
    }
}

/* The slot where a node of this hash is, or would be. Only valid for a table that has slots. */
static struct table_node **slot_of(struct table *table, uint64_t hash)
{
    if (table->old_slots) {
        size_t old = (size_t)hash & (table->old_size - 1);
        if (old >= table->moved)
            return &table->old_slots[old];
    }
    return &table->slots[hash & (table->size - 1)];
}

struct table_node *table_find(struct table *table, const char *key, size_t key_len)
{
    if (table->size == 0)
        return NULL;
    move_some(table);
    uint64_t hash = hash_of(table, key, key_len);
    struct table_node *node = *slot_of(table, hash);
    while (node && (node->hash != hash || node->key_len != key_len || memcmp(node->key, key, key_len) != 0))
        node = node->next;
    return node;
}

/* Doubles the table. Out of memory the chains grow instead, which is slower, but no error. */
static void grow(struct table *table)
{
    size_t size = table->size ? table->size * 2 : FIRST_SIZE;
    struct table_node **slots = calloc(size, sizeof(*slots));
    if (!slots)
        return;
    table->old_slots = table->slots;
    table->old_size = table->size;
    table->moved = 0;
    table->slots = slots;
    table->size = size;
}

int table_insert(struct table *table, struct table_node *node)
{
    move_some(table);
    if (table->count >= table->size && !table->old_slots)
        grow(table);
    if (table->size == 0)
        return -ENOMEM;
    node->hash = hash_of(table, node->key, node->key_len);
    struct table_node **slot = slot_of(table, node->hash);
    node->next = *slot;
    *slot = node;
    table->count++;
    return 0;
}

void table_remove(struct table *table, struct table_node *node)
{
    struct table_node **link = slot_of(table, node->hash);
    while (*link && *link != node)
        link = &(*link)->next;
    if (!*link)
        return;
    *link = node->next;
    node->next = NULL;
    table->count--;
}
