/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sends. They are prepared during the turn and leave together, with the next wait. MSG_DONTWAIT makes the kernel write
 * while it takes the operation, so that none stays in flight; MSG_WAITALL makes it a failure to write less than all;
 * and success posts no completion. So a send without one, once submitted, was written whole, and what has one says
 * exactly how much was.
 *
 * A send that is alone in its turn is no operation: send(2) right before the wait costs less. So the first one is only
 * noted, and becomes an operation when another joins it. Nor is a large one, next to which a call is cheap: it is written
 * at once, while its bytes are in the cache, and its buffer is free again.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#if defined(IOR_URING)
#include "uring.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#define SEND_FLAGS (MSG_DONTWAIT | MSG_WAITALL | MSG_NOSIGNAL)
#define TRIES 8
#define SEND_MOST ((size_t)1 << 30) /* a result must fit an int */
#define LARGE_BYTES 8192u

/* A msghdr with its iovecs behind it, which stay until they are submitted. NULL: the kernel takes none. */
static struct msghdr *arena_put(struct uring *u, const struct iovec *iov, int n)
{
    size_t iov_bytes = (size_t)n * sizeof(*iov);
    size_t bytes = sizeof(struct msghdr) + iov_bytes;

    _Static_assert(sizeof(struct msghdr) % _Alignof(struct iovec) == 0, "iovecs lie behind it");
    _Static_assert(sizeof(struct iovec) % _Alignof(struct msghdr) == 0, "and another behind them");
    if (bytes > URING_ARENA_BYTES - u->arena_used && ior__uring_enter(u, 0, 0) < 0)
        return NULL;
    struct msghdr *message = (struct msghdr *)(void *)(u->arena + u->arena_used);
    struct iovec *copy = (struct iovec *)(void *)(message + 1);
    u->arena_used += (uint32_t)bytes;
    memcpy(copy, iov, iov_bytes);
    *message = (struct msghdr){.msg_iov = copy};
    message->msg_iovlen = (__typeof__(message->msg_iovlen))n; /* its type differs between C libraries */
    return message;
}

/* How many of the pieces there are, and how long they are; a prefix of them, where they are more than one send can do. */
static int fitting(const struct iovec *iov, int n, size_t *ret_len)
{
    const int most = (int)((URING_ARENA_BYTES - sizeof(struct msghdr)) / sizeof(*iov));
    int i = 0;

    *ret_len = 0;
    for (; i < n && i < most && iov[i].iov_len <= SEND_MOST - *ret_len; i++)
        *ret_len += iov[i].iov_len;
    return i;
}

/* Prepares a send of several pieces, or of one that is too long, as far as one send goes: *ret_len. NULL: no room. */
static IOR_APART struct io_uring_sqe *prepare_pieces(struct uring *u, int fd, const struct iovec *iov, int n,
                                                     size_t *ret_len)
{
    /* Before the arena is written to: it is free again afterwards. */
    if (io_uring_sq_space_left(&u->ring) == 0 && ior__uring_enter(u, 0, 0) < 0)
        return NULL;
    int count = fitting(iov, n, ret_len);
    if (count == 0)
        *ret_len = SEND_MOST;
    struct msghdr *message = count > 1 ? arena_put(u, iov, count) : NULL;
    if (count > 1 && !message)
        return NULL;
    struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);
    if (sqe && message)
        io_uring_prep_sendmsg(sqe, fd, message, SEND_FLAGS);
    else if (sqe)
        io_uring_prep_send(sqe, fd, iov->iov_base, *ret_len, SEND_FLAGS);
    return sqe;
}

static inline struct io_uring_sqe *prepare_one(struct uring *u, int fd, const struct iovec *iov)
{
    struct io_uring_sqe *sqe = ior__uring_sqe(u);

    if (IOR_LIKELY(sqe))
        io_uring_prep_send(sqe, fd, iov->iov_base, iov->iov_len, SEND_FLAGS);
    return sqe;
}

/* The send that was alone becomes an operation like those that follow; without room for it, it is written now. */
static void join(struct uring *u)
{
    if (io_uring_sq_space_left(&u->ring) == 0) {
        (void)ior__uring_enter(u, 0, 0);
        return;
    }
    struct io_uring_sqe *sqe = prepare_one(u, u->alone_fd, &u->alone);
    sqe->flags = IOSQE_CQE_SKIP_SUCCESS;
    sqe->user_data = uring_user_data(URING_OF_SEND, u->alone_fd, u->sends_begun);
    u->alone.iov_base = NULL;
}

/* Writes it. Before it is decided whether a wait may sleep: where it comes short, that is to be told. */
void ior__uring_send_alone(struct uring *u)
{
    struct uring_fd *entry = uring_at(u, u->alone_fd);
    ssize_t n = send(u->alone_fd, u->alone.iov_base, u->alone.iov_len, MSG_DONTWAIT | MSG_NOSIGNAL);

    u->sends_submitted = u->sends_begun;
    u->alone.iov_base = NULL;
    if (IOR_LIKELY(n == entry->send_result))
        return;
    entry->send_result = n < 0 ? -errno : (int32_t)n;
    u->send_fell_short = true;
}

/* Whether it is so long that it is written at once. */
static bool is_large(const struct iovec *iov, int n)
{
    size_t len = 0;

    for (int i = 0; i < n && len < LARGE_BYTES; i++)
        len += iov[i].iov_len;
    return len >= LARGE_BYTES;
}

static int write_now(struct uring *u, int fd, struct uring_fd *entry, const struct iovec *iov, int n)
{
    struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)iov};
    size_t len;
    ssize_t written;

    message.msg_iovlen = (__typeof__(message.msg_iovlen))fitting(iov, n, &len);
    do {
        written = message.msg_iovlen > 1 ? sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL)
                                         : send(fd, iov->iov_base, iov->iov_len < SEND_MOST ? iov->iov_len : SEND_MOST,
                                                MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (written < 0 && errno == EINTR);
    entry->send_tag = u->sends_submitted;
    entry->send_result = written < 0 ? -errno : (int32_t)written;
    entry->flags |= URING_SENDING;
    return 1;
}

int ior__uring_send(void *engine, int fd, ior_id id, const struct iovec *iov, int n)
{
    struct uring *u = engine;
    struct uring_fd *entry = uring_find(u, fd, id);
    struct io_uring_sqe *sqe;
    size_t len = iov->iov_len;

    if (IOR_UNLIKELY(!entry)) {
        int err = ior__uring_fd_make(u, fd, &entry);
        if (err < 0)
            return err;
        if (entry->flags & URING_WATCHED)
            return -ENOENT; /* another's */
        ior__uring_drop(u, entry);
        entry->id = id;
    }
    if (is_large(iov, n))
        return write_now(u, fd, entry, iov, n);
    if (u->alone.iov_base)
        join(u);
    if (u->sends_begun == u->sends_submitted && n == 1 && len <= SEND_MOST) {
        u->alone = *iov;
        u->alone_fd = fd;
    } else {
        sqe = n == 1 && len <= SEND_MOST ? prepare_one(u, fd, iov) : prepare_pieces(u, fd, iov, n, &len);
        if (IOR_UNLIKELY(!sqe))
            return -EAGAIN;
        sqe->flags = IOSQE_CQE_SKIP_SUCCESS;
        sqe->user_data = uring_user_data(URING_OF_SEND, fd, u->sends_begun + 1);
    }
    entry->send_tag = ++u->sends_begun;
    entry->send_result = (int32_t)len;
    entry->flags |= URING_SENDING;
    return 0;
}

/* The kernel does not take it: it must not find it later, when the bytes are gone. */
static void take_back(struct uring *u, int fd, uint32_t tag)
{
    struct io_uring_sq *sq = &u->ring.sq;

    for (unsigned at = *sq->khead; at != sq->sqe_tail; at++) {
        struct io_uring_sqe *sqe = &sq->sqes[at & (sq->ring_entries - 1)];
        if (sqe->user_data == uring_user_data(URING_OF_SEND, fd, tag)) {
            io_uring_prep_nop(sqe);
            sqe->user_data = uring_user_data(URING_OF_NOTHING, 0, 0);
        }
    }
}

static bool submitted(const struct uring *u, const struct uring_fd *entry)
{
    return (int32_t)(entry->send_tag - u->sends_submitted) <= 0;
}

/*
 * Where reading told the cause already, a write after it only says that the connection is gone. A want of memory is none:
 * the write would be tried again, for ever where nobody reads meanwhile.
 */
static ssize_t first_cause(const struct uring_fd *entry, ssize_t result)
{
    bool broken = (entry->flags & URING_ERROR) && entry->error != 0 && entry->error != ENOMEM;
    bool knows = result == -EPIPE && broken;

    return knows ? -entry->error : result;
}

ssize_t ior__uring_sent(void *engine, int fd, ior_id id)
{
    struct uring *u = engine;
    struct uring_fd *entry = uring_find(u, fd, id);

    if (!entry || !(entry->flags & URING_SENDING))
        return -EAGAIN;
    for (int tries = 0; !submitted(u, entry); tries++) {
        int err = ior__uring_enter(u, 0, 0);
        unsigned reaped = ior__uring_reap(u);
        if (err < 0 && !submitted(u, entry) && (reaped == 0 || tries == TRIES)) {
            take_back(u, fd, entry->send_tag);
            entry->send_result = -EAGAIN;
            break;
        }
    }
    if (u->unread)
        (void)ior__uring_reap(u); /* it may have been submitted by a flush, or to make room for others */
    uring_clear(entry, URING_SENDING);
    return first_cause(entry, entry->send_result);
}
#else
/* ISO C wants a declaration in every file. */
extern const int ior__no_uring_send;
#endif
