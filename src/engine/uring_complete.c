/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Completions: what the kernel did becomes what is known and held of an fd. Nothing here enters the kernel, but for
 * completions that found no room in the queue, which the kernel keeps and has to be asked for.
 *
 * An operation that was cancelled may have succeeded all the same: what it brought is held like anything else.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#if defined(IOR_URING)
#include "uring.h"

#include <errno.h>
#include <poll.h>
#include <unistd.h>

/* Errors after which an operation is just tried again. */
static bool passing(int res)
{
    return res == -ECANCELED || res == -EAGAIN || res == -EINTR || res == -ENOBUFS;
}

static void tell_error(struct uring_fd *entry, int error, bool is_end)
{
    entry->flags |= is_end ? URING_ERROR | URING_ENDED : URING_ERROR;
    entry->error = (int16_t)error;
}

static void received(struct uring *u, struct uring_fd *entry, int res, unsigned flags)
{
    if (flags & IORING_CQE_F_BUFFER) {
        uint32_t buffer = flags >> IORING_CQE_BUFFER_SHIFT;
        uint32_t len = res > 0 ? (uint32_t)res : 0;
        bool more = u->buffers.incremental && (flags & IOR__URING_CQE_F_BUF_MORE);
        unsigned char *bytes = uring_buffer_take(&u->buffers, buffer, len, more);
        if (len > 0 && ior__uring_hold_bytes(u, entry, bytes, len, buffer) < 0)
            tell_error(entry, EIO, true); /* a stream with a gap is none */
    }
    if (res == 0)
        tell_error(entry, 0, true);
    else if (res < 0 && !passing(res))
        tell_error(entry, -res, res != -ENOMEM);
}

static void accepted(struct uring *u, struct uring_fd *entry, int res)
{
    if (res >= 0) {
        if (res <= STDERR_FILENO)
            res = ior__above_stdio(res);
        if (res >= 0 && ior__uring_hold_fd(u, entry, res) < 0) {
            close(res);
            res = -ENOMEM;
        }
    }
    if (res < 0 && !passing(res))
        tell_error(entry, -res, false);
}

static void on_input(struct uring *u, int fd, uint32_t tag, int res, unsigned flags)
{
    struct uring_fd *entry = uring_at(u, fd);
    bool more = (flags & IORING_CQE_F_MORE) != 0;

    u->in_flight -= !more;
    if (!entry || (entry->input_tag & URING_TAG_MASK) != tag)
        return; /* cannot be: what is armed is cancelled and waited for before the entry becomes another's */
    if (entry->flags & URING_LISTENS)
        accepted(u, entry, res);
    else
        received(u, entry, res, flags);
    if (!more) {
        uring_clear(entry, URING_INPUT | URING_STOPPING);
        if (res == -ENOBUFS && !(entry->flags & URING_LISTENS))
            uring_starved_add(u, entry, fd);
        else
            uring_dirty_add(u, entry, fd);
    } else if (uring_is_full(u, entry) && !(entry->flags & URING_STOPPING)) {
        uring_dirty_add(u, entry, fd);
    }
    if (uring_has_input(entry))
        uring_ready_add(&u->ready, entry, fd);
}

static uint32_t what_of(int res)
{
    if (res < 0)
        return res == -EBADF ? IOR_BAD : IOR_ERR;
    return (res & POLLIN ? IOR_READ : 0u) | (res & POLLOUT ? IOR_WRITE : 0u) | (res & POLLHUP ? IOR_HUP : 0u) |
           (res & POLLERR ? IOR_ERR : 0u) | (res & POLLNVAL ? IOR_BAD : 0u);
}

/*
 * The kernel always waits for POLLRDHUP too. One that tells nothing else is of a half-closed peer, and would be told at
 * once each time: from then on the fd has polls that go on, and are told of changes only.
 */
static void on_poll(struct uring *u, int fd, uint32_t tag, int res, unsigned flags)
{
    struct uring_fd *entry = uring_at(u, fd);
    bool more = (flags & IORING_CQE_F_MORE) != 0;

    u->in_flight -= !more;
    if (!entry)
        return;
    if ((entry->poll_tag & URING_TAG_MASK) != tag || !(entry->flags & URING_POLL)) {
        entry->stale_polls -= !more;
        return;
    }
    if (!more)
        uring_clear(entry, URING_POLL | URING_POLL_SPENT);
    uint32_t what = res == -ECANCELED ? 0 : what_of(res) & (entry->poll_mask | IOR_HUP | IOR_ERR | IOR_BAD);
    if (what) {
        entry->ready |= (uint8_t)what;
        entry->flags |= more ? URING_POLL_SPENT : 0;
        uring_ready_add(&u->ready, entry, fd);
    } else {
        entry->flags |= res >= 0 ? URING_HALF_CLOSED : 0;
        if (!more)
            uring_dirty_add(u, entry, fd);
    }
}

static void on_send(struct uring *u, int fd, uint32_t tag, int res)
{
    struct uring_fd *entry = uring_at(u, fd);

    if (!entry || !(entry->flags & URING_SENDING) || (entry->send_tag & URING_TAG_MASK) != tag)
        return;
    entry->send_result = res;
    u->send_fell_short = true;
}

static void complete(struct uring *u, const struct io_uring_cqe *cqe)
{
    int fd = (int)(cqe->user_data & INT32_MAX);
    uint32_t tag = (uint32_t)(cqe->user_data >> 34);

    switch (uring_kind_of(cqe->user_data)) {
    case URING_OF_INPUT:
        on_input(u, fd, tag, cqe->res, cqe->flags);
        break;
    case URING_OF_POLL:
        on_poll(u, fd, tag, cqe->res, cqe->flags);
        break;
    case URING_OF_SEND:
        on_send(u, fd, tag, cqe->res);
        break;
    case URING_OF_WAKER:
        u->in_flight--;
        u->waker_armed = false;
        if (cqe->res == -ECANCELED)
            break;
        ior__waker_drain(&u->waker);
        u->woken = true;
        break;
    case URING_OF_CANCEL:
    case URING_OF_NOTHING:
        break;
    }
}

static unsigned reap_once(struct uring *u)
{
    const struct io_uring_cq *cq = &u->ring.cq;
    unsigned mask = cq->ring_entries - 1;
    unsigned head = *cq->khead;
    unsigned tail = __atomic_load_n(cq->ktail, __ATOMIC_ACQUIRE);
    unsigned count = tail - head;

    if (count == 0)
        return 0;
    for (; head != tail; head++)
        complete(u, &cq->cqes[head & mask]);
    __atomic_store_n(cq->khead, head, __ATOMIC_RELEASE);
    return count;
}

unsigned ior__uring_reap(struct uring *u)
{
    unsigned count = reap_once(u);

    u->unread = false;
    while (IOR_UNLIKELY(__atomic_load_n(u->ring.sq.kflags, __ATOMIC_RELAXED) & IORING_SQ_CQ_OVERFLOW)) {
        ior__log(IOR_LOG_DEBUG, "engine uring: the completion queue of %u overflowed", u->ring.cq.ring_entries);
        if (ior__uring_enter(u, 0, 0) < 0)
            break;
        unsigned more = reap_once(u);
        if (more == 0)
            break;
        count += more;
    }
    return count;
}
#else
/* ISO C wants a declaration in every file. */
extern const int ior__no_uring_complete;
#endif
