/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the engine on io_uring share. uring.c is the engine's table; uring_ring.c makes rings and enters
 * the kernel; uring_complete.c reads what the kernel answered; uring_arm.c asks it; uring_fd.c keeps what is known and
 * held of each fd; uring_buffers.c are the buffers the kernel receives into; uring_send.c writes.
 */
#ifndef IOR_SRC_ENGINE_URING_H
#define IOR_SRC_ENGINE_URING_H

#include <pthread.h>
#include <sys/stat.h>

#include <ioreactor/uring.h>

#include "../util.h"
#include "engine.h"
#include "uring_compat.h"

/* ---- fds ---- */

/* The state of an fd: uring_fd.flags. */
enum {
    URING_WATCHED = 1 << 0,
    URING_INPUT = 1 << 1,      /* a multishot receive or accept is armed */
    URING_STOPPING = 1 << 2,   /* and is being cancelled */
    URING_POLL = 1 << 3,       /* a poll is armed */
    URING_POLL_SPENT = 1 << 4, /* it has told what it was for, but goes on: to be cancelled */
    URING_HALF_CLOSED = 1 << 5,
    URING_IN_READY = 1 << 6,
    URING_IN_DIRTY = 1 << 7, /* or in starved */
    URING_SENDING = 1 << 8,  /* a send was begun, and `sent` not asked */
    URING_ENDED = 1 << 9,    /* the input has ended: nothing is to be received any more */
    URING_ERROR = 1 << 10,   /* `error` (0: the end of input) is to be told, behind what is held */
    URING_LISTENS = 1 << 11, /* what is held are accepted fds */
    URING_UNTAKEN = 1 << 12, /* told of input, and none of it was taken since */
};

/* An fd: what the runtime wants of it, what is armed, what is held. One cache line; 0 is a fresh one. */
struct uring_fd {
    ior_id id; /* 0: none */
    uint64_t ino;
    uint32_t dev;
    uint32_t input_tag, poll_tag;    /* which operation is the armed one */
    uint32_t held_first, held_last;  /* 1 + index of a struct uring_held; 0: none */
    uint32_t held;                   /* bytes, or accepted fds */
    uint32_t next_ready, next_dirty; /* 1 + fd */
    uint32_t send_tag;
    int32_t send_result;
    int16_t error;
    uint16_t flags;
    uint8_t wanted;      /* the interest */
    uint8_t ready;       /* what a poll told and no record has */
    uint8_t poll_mask;   /* what the armed poll waits for: IOR_READ, IOR_WRITE, both or 0 */
    uint8_t stale_polls; /* cancelled, and their last completion is still to come */
};

/* Bytes received and not taken, in a buffer of the ring or in a block of their own; or an accepted fd. */
struct uring_held {
    unsigned char *bytes; /* the first that is left; NULL: an accepted fd */
    uint32_t len;         /* what is left */
    uint32_t used;        /* of a block: what was taken before; or the accepted fd */
    uint32_t buffer;      /* of the ring, or URING_NO_BUFFER: the block is the node's own */
    uint32_t next;        /* 1 + index */
};
#define URING_NO_BUFFER UINT32_MAX

/* The table is made of pages, so that entries stay where they are. */
#define URING_PAGE 64

/* FIFO lists, linked through uring_fd.next_ready or next_dirty. */
struct uring_list {
    uint32_t first;        /* 1 + fd; 0: none */
    struct uring_fd *last; /* where there is a first one */
};

/* ---- buffers ---- */

struct uring_buffer {
    uint32_t held; /* pieces of it that are held */
    uint32_t at;   /* where the kernel goes on */
    bool given;    /* the kernel has it */
};

struct uring_buffers {
    struct io_uring_buf_ring *ring;
    unsigned char *bytes;
    struct uring_buffer *all;
    uint32_t count, size;
    uint32_t given; /* how many the kernel has */
    bool incremental;
};

/* ---- the engine ---- */

/* Connections accepted and not taken, of a listener. */
#define URING_ACCEPTED_MOST 256

/* msghdrs and iovecs of sends that are not submitted yet. */
#define URING_ARENA_BYTES (32u << 10)

struct uring {
    struct io_uring ring;
    bool deferred; /* the ring is: it is for one thread */
    bool polled;   /* `fd` was asked: the ring is plain, and readable when there is something to tell */
    bool moving;   /* from one ring to another */
    bool woken;    /* a wake is to be told */
    bool waker_armed;
    bool send_fell_short;
    bool unread;                           /* the kernel was entered: there may be completions that were not read */
    uint32_t in_flight;                    /* armed operations, the waker's and stale ones included */
    uint32_t tag;                          /* the last one given */
    uint32_t sends_begun, sends_submitted; /* tags of sends, in order */
    struct iovec alone;                    /* the only send that is begun, as long as it is no operation; or NULL */
    int alone_fd;
    struct uring_list ready, dirty;
    uint32_t told;             /* 1 + fd of the first one, through next_ready */
    struct uring_list starved; /* streams that found no buffer; through next_dirty */
    struct uring_fd **pages;
    uint32_t page_count;
    struct uring_held *held;
    uint32_t held_count, held_free; /* how many there are; 1 + index of the first free one */
    struct uring_buffers buffers;
    struct ior__waker waker;
    const struct ior_os *os;
    struct ior_uring_options options;
    uint32_t arena_used;
    unsigned char *arena;
};

/* What a completion belongs to: user_data is the tag (30 bits), the kind (3) and the fd (31). */
enum uring_kind { URING_OF_INPUT = 1, URING_OF_POLL, URING_OF_SEND, URING_OF_CANCEL, URING_OF_WAKER, URING_OF_NOTHING };
#define URING_TAG_MASK ((UINT32_C(1) << 30) - 1)

static inline uint64_t uring_user_data(enum uring_kind kind, int fd, uint32_t tag)
{
    return (uint64_t)(tag & URING_TAG_MASK) << 34 | (uint64_t)kind << 31 | (uint32_t)fd;
}

static inline enum uring_kind uring_kind_of(uint64_t user_data)
{
    return (enum uring_kind)(user_data >> 31 & 7);
}

/* uring_fd.c */
int ior__uring_fd_make(struct uring *u, int fd, struct uring_fd **ret);
int ior__uring_hold_bytes(struct uring *u, struct uring_fd *entry, unsigned char *bytes, uint32_t len, uint32_t buffer);
int ior__uring_hold_fd(struct uring *u, struct uring_fd *entry, int fd);
size_t ior__uring_take_bytes(struct uring *u, struct uring_fd *entry, unsigned char *bytes, size_t len);
int ior__uring_take_fd(struct uring *u, struct uring_fd *entry);
void ior__uring_copy_out(struct uring *u, struct uring_fd *entry);
void ior__uring_drop(struct uring *u, struct uring_fd *entry);
void ior__uring_fds_free(struct uring *u);

static inline struct uring_fd *uring_at(const struct uring *u, int fd)
{
    uint32_t page = (uint32_t)fd / URING_PAGE;
    struct uring_fd *entries = page < u->page_count ? u->pages[page] : NULL;

    return entries ? &entries[(uint32_t)fd % URING_PAGE] : NULL;
}

/* The entry of a resource; NULL: there is none under that number, or another's. */
static inline struct uring_fd *uring_find(const struct uring *u, int fd, ior_id id)
{
    struct uring_fd *entry = uring_at(u, fd);

    return IOR_LIKELY(entry && entry->id == id) ? entry : NULL;
}

/* Appends to `ready` or `told`, unless it is on one of them. */
static inline void uring_ready_add(struct uring_list *list, struct uring_fd *entry, int fd)
{
    if (entry->flags & URING_IN_READY)
        return;
    entry->flags |= URING_IN_READY;
    entry->next_ready = 0;
    if (list->first)
        list->last->next_ready = (uint32_t)fd + 1;
    else
        list->first = (uint32_t)fd + 1;
    list->last = entry;
}

/* Appends to `dirty` or `starved`, unless it is on one of them. */
static inline void uring_list_dirty(struct uring_list *list, struct uring_fd *entry, int fd)
{
    if (entry->flags & URING_IN_DIRTY)
        return;
    entry->flags |= URING_IN_DIRTY;
    entry->next_dirty = 0;
    if (list->first)
        list->last->next_dirty = (uint32_t)fd + 1;
    else
        list->first = (uint32_t)fd + 1;
    list->last = entry;
}

/* What is armed for the fd may not be what is wanted: looked at before the next wait. */
static inline void uring_dirty_add(struct uring *u, struct uring_fd *entry, int fd)
{
    uring_list_dirty(&u->dirty, entry, fd);
}

/* The same, once there are buffers and it is its turn. */
static inline void uring_starved_add(struct uring *u, struct uring_fd *entry, int fd)
{
    uring_list_dirty(&u->starved, entry, fd);
}

static inline void uring_clear(struct uring_fd *entry, unsigned flags)
{
    entry->flags = (uint16_t)(entry->flags & ~flags);
}

/* Whether so much is held that the engine takes no more. */
static inline bool uring_is_full(const struct uring *u, const struct uring_fd *entry)
{
    return entry->held > ((entry->flags & URING_LISTENS) ? URING_ACCEPTED_MOST : u->options.held_bytes);
}

/* Whether there is input to tell. */
static inline bool uring_has_input(const struct uring_fd *entry)
{
    return entry->held_first || (entry->flags & URING_ERROR);
}

/* What a record says of it. */
static inline uint32_t uring_what(const struct uring_fd *entry)
{
    uint32_t what = entry->ready & (entry->wanted | IOR_HUP | IOR_ERR | IOR_BAD);

    if ((entry->wanted & IOR_READ) && uring_has_input(entry))
        what |= IOR_READ;
    return (entry->flags & URING_WATCHED) ? what : 0;
}

/* uring_buffers.c */
int ior__uring_buffers_open(struct uring_buffers *buffers, struct io_uring *ring,
                            const struct ior_uring_options *options);
int ior__uring_buffers_move(struct uring_buffers *buffers, struct io_uring *ring);
void ior__uring_buffers_close(struct uring_buffers *buffers);
void ior__uring_buffer_give(struct uring_buffers *buffers, uint32_t index);

/* A completion used `len` bytes of a buffer: where they are. They are held until released, where there are any. */
static inline unsigned char *uring_buffer_take(struct uring_buffers *buffers, uint32_t index, uint32_t len, bool more)
{
    struct uring_buffer *buffer = &buffers->all[index];
    unsigned char *bytes = buffers->bytes + (size_t)index * buffers->size + buffer->at;

    buffer->at += len;
    buffer->held += len > 0;
    if (IOR_UNLIKELY(!more)) {
        buffer->given = false;
        buffers->given--;
        if (buffer->held == 0)
            ior__uring_buffer_give(buffers, index);
    }
    return bytes;
}

static inline void uring_buffer_release(struct uring_buffers *buffers, uint32_t index)
{
    struct uring_buffer *buffer = &buffers->all[index];

    if (--buffer->held == 0 && !buffer->given)
        ior__uring_buffer_give(buffers, index);
}

/* uring_ring.c */
int ior__uring_open_ring(struct uring *u);
void ior__uring_close_ring(struct uring *u);
int ior__uring_move(struct uring *u, bool deferred);
struct io_uring_sqe *ior__uring_sqe(struct uring *u);
int ior__uring_enter(struct uring *u, unsigned min_complete, uint64_t wait_ns);
void ior__uring_cancel_all(struct uring *u, bool bounded);

/* uring_complete.c: how many completions there were */
unsigned ior__uring_reap(struct uring *u);

/* uring_arm.c */
int ior__uring_arm(struct uring *u);
void ior__uring_settle(struct uring *u, struct uring_fd *entry, int fd);

/* uring_send.c */
int ior__uring_send(void *engine, int fd, ior_id id, const struct iovec *iov, int n);
ssize_t ior__uring_sent(void *engine, int fd, ior_id id);
void ior__uring_send_alone(struct uring *u);

#endif
