/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keys. Each key that is to expire has a timer of the runtime: it is gone on time, with nothing to scan. A timer
 * may be late (a turn serves a bounded number of them), so each look-up checks the time as well: nobody sees an expired
 * key.
 *
 * Invariant: entry->timer is 0 or the id of an armed timer whose `user` is this entry.
 */
#include "kv.h"

#include <stdlib.h>
#include <string.h>

static uint64_t now_ms(struct kv *kv)
{
    return ior_time_to_ms(ior_now(kv->cx));
}

static void entry_free(struct table_node *node)
{
    struct entry *entry = (struct entry *)(void *)node;
    if (entry->timer)
        ior_timer_cancel(entry->kv->cx, entry->timer);
    free(entry->value);
    free(entry);
}

void db_delete(struct kv *kv, struct entry *entry)
{
    table_remove(&kv->keys, &entry->node);
    entry_free(&entry->node);
}

struct entry *db_find(struct kv *kv, const struct resp_arg *key)
{
    struct entry *entry = (struct entry *)(void *)table_find(&kv->keys, key->bytes, key->len);
    if (entry && entry->expires_ms != IOR_NEVER && entry->expires_ms <= now_ms(kv)) {
        db_delete(kv, entry);
        kv->expired++;
        return NULL;
    }
    return entry;
}

bool db_replace(struct entry *entry, const char *value, size_t value_len)
{
    /* malloc(0) may answer NULL. */
    char *copy = malloc(value_len ? value_len : 1);
    if (!copy)
        return false;
    memcpy(copy, value, value_len);
    free(entry->value);
    entry->value = copy;
    entry->value_len = value_len;
    return true;
}

struct entry *db_set(struct kv *kv, const struct resp_arg *key, const char *value, size_t value_len)
{
    struct entry *entry = db_find(kv, key);
    if (entry) {
        if (!db_replace(entry, value, value_len))
            return NULL;
        db_expire(kv, entry, IOR_NEVER);
        return entry;
    }
    entry = calloc(1, sizeof(*entry) + key->len);
    if (!entry)
        return NULL;
    memcpy(entry->key, key->bytes, key->len);
    entry->node.key = entry->key;
    entry->node.key_len = key->len;
    entry->kv = kv;
    entry->expires_ms = IOR_NEVER;
    if (!db_replace(entry, value, value_len) || table_insert(&kv->keys, &entry->node) < 0) {
        entry_free(&entry->node);
        return NULL;
    }
    return entry;
}

void db_expire(struct kv *kv, struct entry *entry, uint64_t after_ms)
{
    if (after_ms == IOR_NEVER) {
        if (entry->timer)
            ior_timer_cancel(kv->cx, entry->timer);
        entry->timer = 0;
        entry->expires_ms = IOR_NEVER;
        return;
    }
    /* The time of day is cut to milliseconds, the end is rounded up: never early. */
    entry->expires_ms = ior_time_add(now_ms(kv) + 1, after_ms);
    uint64_t after_ns = ior_time_from_ms(after_ms);
    int err = entry->timer ? ior_timer_move(kv->cx, entry->timer, after_ns)
                           : ior_timer_set(kv->cx, after_ns, entry, &entry->timer);
    /* Without a timer the key goes when somebody asks for it. */
    (void)err;
}

uint64_t db_left_ms(struct kv *kv, const struct entry *entry)
{
    if (entry->expires_ms == IOR_NEVER)
        return IOR_NEVER;
    return ior_time_sub(entry->expires_ms, now_ms(kv));
}

void db_on_timer(struct kv *kv, struct entry *entry)
{
    entry->timer = 0;
    db_delete(kv, entry);
    kv->expired++;
}

void db_deinit(struct kv *kv)
{
    table_deinit(&kv->keys, entry_free);
}
