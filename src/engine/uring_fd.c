/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the engine on io_uring knows of each fd, and what it holds for it: bytes received and connections accepted that
 * the runtime has not taken yet. Bytes lie in the buffers of the ring at first; those that are not taken in time are
 * copied into blocks of their own, so that nobody who does not read keeps the others from receiving.
 *
 * Invariants: `held` is the sum of the lengths (or the number of fds) in an entry's list; in the list blocks come
 * before pieces of ring buffers; entries never move.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#if defined(IOR_URING)
#include "uring.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define PAGE_BYTES (URING_PAGE * sizeof(struct uring_fd))

int ior__uring_fd_make(struct uring *u, int fd, struct uring_fd **ret)
{
    uint32_t page = (uint32_t)fd / URING_PAGE;

    if (page >= u->page_count) {
        uint32_t count = u->page_count ? u->page_count : 16;
        while (count <= page)
            count *= 2;
        size_t old = u->page_count * sizeof(*u->pages);
        struct uring_fd **pages = ior__realloc(u->pages, old, count * sizeof(*pages));
        if (!pages)
            return -ENOMEM;
        memset(pages + u->page_count, 0, count * sizeof(*pages) - old);
        u->pages = pages;
        u->page_count = count;
    }
    if (!u->pages[page])
        u->pages[page] = ior__calloc(PAGE_BYTES);
    if (!u->pages[page])
        return -ENOMEM;
    *ret = uring_at(u, fd);
    return 0;
}

/* ---- nodes ---- */

/* 1 + the index of a free node, or 0: out of memory. */
static uint32_t node_new(struct uring *u)
{
    if (IOR_UNLIKELY(!u->held_free)) {
        uint32_t count = u->held_count ? u->held_count * 2 : 64;
        struct uring_held *all = ior__realloc(u->held, u->held_count * sizeof(*all), count * sizeof(*all));
        if (!all)
            return 0;
        for (uint32_t i = u->held_count; i < count; i++)
            all[i].next = i + 1 < count ? i + 2 : 0;
        u->held_free = u->held_count + 1;
        u->held = all;
        u->held_count = count;
    }
    uint32_t at = u->held_free;
    u->held_free = u->held[at - 1].next;
    return at;
}

/* Gives back what a node stands for, and the node. */
static void node_free(struct uring *u, uint32_t at)
{
    struct uring_held *node = &u->held[at - 1];

    if (node->buffer != URING_NO_BUFFER)
        uring_buffer_release(&u->buffers, node->buffer);
    else if (node->bytes)
        ior__free(node->bytes - node->used, (size_t)node->used + node->len);
    node->next = u->held_free;
    u->held_free = at;
}

static int append(struct uring *u, struct uring_fd *entry, struct uring_held held)
{
    uint32_t at = node_new(u);

    if (!at)
        return -ENOMEM;
    held.next = 0;
    u->held[at - 1] = held;
    if (entry->held_last)
        u->held[entry->held_last - 1].next = at;
    else
        entry->held_first = at;
    entry->held_last = at;
    return 0;
}

static void drop_first(struct uring *u, struct uring_fd *entry)
{
    uint32_t at = entry->held_first;

    entry->held_first = u->held[at - 1].next;
    if (!entry->held_first)
        entry->held_last = 0;
    node_free(u, at);
}

/* ---- holding and taking ---- */

int ior__uring_hold_bytes(struct uring *u, struct uring_fd *entry, unsigned char *bytes, uint32_t len, uint32_t buffer)
{
    uint32_t at = u->held_free;
    int err = 0;

    if (IOR_LIKELY(!entry->held_last && at)) { /* mostly all was taken before more comes */
        struct uring_held *node = &u->held[at - 1];
        u->held_free = node->next;
        *node = (struct uring_held){.bytes = bytes, .len = len, .buffer = buffer};
        entry->held_first = entry->held_last = at;
        entry->held = len;
        return 0;
    }
    struct uring_held *last = entry->held_last ? &u->held[entry->held_last - 1] : NULL;
    if (last && last->buffer == buffer && last->bytes + last->len == bytes) {
        last->len += len; /* the kernel went on where it was */
        uring_buffer_release(&u->buffers, buffer);
    } else {
        err = append(u, entry, (struct uring_held){.bytes = bytes, .len = len, .buffer = buffer});
        if (err < 0)
            uring_buffer_release(&u->buffers, buffer);
    }
    entry->held += err < 0 ? 0 : len;
    return err;
}

int ior__uring_hold_fd(struct uring *u, struct uring_fd *entry, int fd)
{
    int err = append(u, entry, (struct uring_held){.used = (uint32_t)fd, .buffer = URING_NO_BUFFER});

    entry->held += err == 0;
    return err;
}

size_t ior__uring_take_bytes(struct uring *u, struct uring_fd *entry, unsigned char *bytes, size_t len)
{
    struct uring_held *node = &u->held[entry->held_first - 1];
    size_t taken = 0;

    /* Mostly it is one piece of a buffer, and is taken whole. */
    if (IOR_LIKELY(!node->next && node->len <= len && node->buffer != URING_NO_BUFFER)) {
        taken = node->len;
        memcpy(bytes, node->bytes, taken);
        uring_buffer_release(&u->buffers, node->buffer);
        node->next = u->held_free;
        u->held_free = entry->held_first;
        entry->held_first = entry->held_last = entry->held = 0;
        return taken;
    }
    while (entry->held_first && taken < len) {
        node = &u->held[entry->held_first - 1];
        uint32_t n = node->len < len - taken ? node->len : (uint32_t)(len - taken);
        memcpy(bytes + taken, node->bytes, n);
        taken += n;
        node->bytes += n;
        node->len -= n;
        node->used += n;
        if (node->len == 0)
            drop_first(u, entry);
    }
    entry->held -= (uint32_t)taken;
    return taken;
}

int ior__uring_take_fd(struct uring *u, struct uring_fd *entry)
{
    int fd = (int)u->held[entry->held_first - 1].used;

    entry->held--;
    drop_first(u, entry);
    return fd;
}

/* What lies in buffers of the ring goes into a block. Without memory for that it stays where it is. */
void ior__uring_copy_out(struct uring *u, struct uring_fd *entry)
{
    uint32_t at = entry->held_first;
    size_t len = 0;

    while (at && u->held[at - 1].buffer == URING_NO_BUFFER)
        at = u->held[at - 1].next;
    for (uint32_t i = at; i; i = u->held[i - 1].next)
        len += u->held[i - 1].len;
    unsigned char *block = at ? ior__alloc(len) : NULL;
    if (!block)
        return;
    uint32_t first = at;
    unsigned char *to = block;
    for (uint32_t next; at; at = next) {
        struct uring_held *node = &u->held[at - 1];
        next = node->next;
        memcpy(to, node->bytes, node->len);
        to += node->len;
        if (at != first)
            node_free(u, at);
    }
    struct uring_held *node = &u->held[first - 1];
    uring_buffer_release(&u->buffers, node->buffer);
    *node = (struct uring_held){.bytes = block, .len = (uint32_t)len, .buffer = URING_NO_BUFFER};
    entry->held_last = first;
}

/* Forgets what belongs to the entry's id. Nothing is armed. */
void ior__uring_drop(struct uring *u, struct uring_fd *entry)
{
    while (entry->held_first) {
        const struct uring_held *node = &u->held[entry->held_first - 1];
        if (!node->bytes)
            close((int)node->used);
        drop_first(u, entry);
    }
    entry->held = 0;
    entry->id = 0;
    entry->error = 0;
    entry->ready = 0;
    entry->wanted = 0;
    entry->flags &= URING_IN_READY | URING_IN_DIRTY;
}

void ior__uring_fds_free(struct uring *u)
{
    for (uint32_t i = 0; i < u->page_count; i++) {
        for (uint32_t j = 0; u->pages[i] && j < URING_PAGE; j++)
            ior__uring_drop(u, &u->pages[i][j]);
        ior__free(u->pages[i], u->pages[i] ? PAGE_BYTES : 0);
    }
    ior__free(u->pages, u->page_count * sizeof(*u->pages));
    ior__free(u->held, u->held_count * sizeof(*u->held));
}
#else
/* ISO C wants a declaration in every file. */
extern const int ior__no_uring_fd;
#endif
