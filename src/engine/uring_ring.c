/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rings: how they are made, how the engine changes from one to another, and the one place that enters the kernel.
 *
 * There are two kinds. A DEFERRED ring (SINGLE_ISSUER, DEFER_TASKRUN; Linux 6.1) does its work only when its one
 * thread enters the kernel, which is the cheapest; but other threads get -EEXIST from it, and a poll(2) that sleeps on
 * its fd is not woken (seen on 6.18). It is for ior_runtime_run. A PLAIN ring is for runtimes that are turned by hand,
 * perhaps inside a foreign loop. The engine opens with a plain ring; `stay` changes to a deferred one, if it can.
 *
 * Changing rings takes with it what is prepared and not submitted; all that was armed becomes dirty, and is armed anew
 * on the new ring by the next wait.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#if defined(IOR_URING)
#include "uring.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define CLOSE_PATIENCE_NS IOR_NS_PER_SEC

/* Whether the kernel is one that receives multishot, writes sends whole, and has deferred rings. */
int ior__uring_look_for_all(struct io_uring *ring)
{
    union {
        struct io_uring_probe probe;
        unsigned char room[sizeof(struct io_uring_probe) + 256 * sizeof(struct io_uring_probe_op)];
    } in;

    memset(&in, 0, sizeof(in));
    int err = io_uring_register_probe(ring, &in.probe, 256);
    if (err < 0)
        return err == -EINVAL ? -EOPNOTSUPP : err;
    return in.probe.last_op >= IOR__URING_OP_SENDMSG_ZC ? 0 : -EOPNOTSUPP;
}

static int open_ring(const struct uring *u, bool deferred, struct io_uring *ring)
{
    struct io_uring_params params = {
        .flags = IORING_SETUP_CLAMP | IORING_SETUP_CQSIZE | IORING_SETUP_SUBMIT_ALL,
        .cq_entries = u->options.completions,
    };
    params.flags |= deferred ? IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN
                             : IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG;
    const unsigned needed = IORING_FEAT_NODROP | IORING_FEAT_SUBMIT_STABLE | IORING_FEAT_EXT_ARG | IORING_FEAT_CQE_SKIP;

    int err = io_uring_queue_init_params(u->options.entries, ring, &params);
    if (err < 0)
        return err == -EINVAL ? -EOPNOTSUPP : err;
    err = (params.features & needed) == needed ? ior__uring_look_for_all(ring) : -EOPNOTSUPP;
    if (err < 0) {
        io_uring_queue_exit(ring);
        return err;
    }
    int fd = ior__above_stdio(ring->ring_fd);
    if (fd < 0) {
        ring->ring_fd = -1; /* it is closed */
        io_uring_queue_exit(ring);
        return fd;
    }
    ring->ring_fd = ring->enter_ring_fd = fd;
    return 0;
}

int ior__uring_open_ring(struct uring *u)
{
    int err = open_ring(u, false, &u->ring);
    if (err == 0) {
        err = ior__uring_buffers_open(&u->buffers, &u->ring, &u->options);
        if (err == -EINVAL)
            err = -EOPNOTSUPP;
        if (err < 0)
            io_uring_queue_exit(&u->ring);
    }
    if (err == -EOPNOTSUPP)
        ior__log(IOR_LOG_WARN, "engine uring needs Linux 6.1");
    return err;
}

void ior__uring_close_ring(struct uring *u)
{
    io_uring_queue_exit(&u->ring);
}

/* ---- entering ---- */

static unsigned prepared(const struct io_uring *ring)
{
    return ring->sq.sqe_tail - __atomic_load_n(ring->sq.khead, __ATOMIC_ACQUIRE);
}

/* Makes the prepared entries the kernel's to take. How many there are. */
static unsigned publish(struct io_uring *ring)
{
    ring->sq.sqe_head = ring->sq.sqe_tail;
    __atomic_store_n(ring->sq.ktail, ring->sq.sqe_tail, __ATOMIC_RELEASE);
    return prepared(ring);
}

/* Another thread than the ring's one has the loop now. */
static bool wrong_thread(struct uring *u, int err)
{
    return err == -EEXIST && u->deferred && !u->moving && ior__uring_move(u, false) == 0;
}

/*
 * Submits all that is prepared, and waits until there are `min_complete` completions (0: no wait), at most wait_ns
 * (IOR_NEVER: as long as it takes). 0; -ETIME; -EINTR; or why it failed. After 0 the wait may have been interrupted all
 * the same: the kernel tells how much it took instead.
 */
int ior__uring_enter(struct uring *u, unsigned min_complete, uint64_t wait_ns)
{
    struct __kernel_timespec ts = {(int64_t)(wait_ns / IOR_NS_PER_SEC), (int64_t)(wait_ns % IOR_NS_PER_SEC)};
    struct io_uring_getevents_arg arg = {.sigmask_sz = _NSIG / 8};
    const unsigned idle = (u->ring.features & IOR__URING_FEAT_NO_IOWAIT) ? IOR__URING_ENTER_NO_IOWAIT : 0;
    const unsigned flags = IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG | idle;

    if (min_complete > 0 && wait_ns != IOR_NEVER)
        arg.ts = (uint64_t)(uintptr_t)&ts;
    if (u->alone.iov_base)
        ior__uring_send_alone(u);
    for (;;) {
        unsigned n = publish(&u->ring);
        u->unread = true;
        int r = io_uring_enter2((unsigned)u->ring.enter_ring_fd, n, min_complete, flags, (sigset_t *)(void *)&arg,
                                sizeof(arg));
        if (IOR_UNLIKELY(r < 0 && wrong_thread(u, r))) {
            min_complete = 0; /* nothing is armed any more */
            continue;
        }
        if (IOR_UNLIKELY(prepared(&u->ring) > 0)) {
            if (r <= 0 && r != -EINTR)
                return r < 0 ? r : -EAGAIN;
            continue; /* it stopped at one of them, and waited for nothing */
        }
        u->sends_submitted = u->sends_begun;
        u->arena_used = 0;
        return r < 0 ? r : 0;
    }
}

/* Room for one more operation; where the queue is full, what is in it is submitted. NULL: the kernel takes none. */
struct io_uring_sqe *ior__uring_sqe(struct uring *u)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);

    if (IOR_UNLIKELY(!sqe) && ior__uring_enter(u, 0, 0) == 0)
        sqe = io_uring_get_sqe(&u->ring);
    return sqe;
}

/* ---- changing rings ---- */

/* What was armed is to be armed anew. */
static void forget_armed(struct uring *u)
{
    u->in_flight = 0;
    u->waker_armed = false;
    for (uint32_t page = 0; page < u->page_count; page++) {
        for (uint32_t i = 0; u->pages[page] && i < URING_PAGE; i++) {
            struct uring_fd *entry = &u->pages[page][i];
            entry->stale_polls = 0;
            if (entry->flags & (URING_INPUT | URING_POLL))
                uring_dirty_add(u, entry, (int)(page * URING_PAGE + i));
            uring_clear(entry, URING_INPUT | URING_STOPPING | URING_POLL | URING_POLL_SPENT);
        }
    }
}

/* The sends that wait in one queue, in order, into another that is as large. */
static void move_sends(struct io_uring *from, struct io_uring *to)
{
    for (unsigned at = *from->sq.khead; at != from->sq.sqe_tail; at++) {
        const struct io_uring_sqe *old = &from->sq.sqes[at & (from->sq.ring_entries - 1)];
        struct io_uring_sqe *sqe = uring_kind_of(old->user_data) == URING_OF_SEND ? io_uring_get_sqe(to) : NULL;
        if (sqe)
            *sqe = *old;
    }
}

/* Puts another ring in the place of this one. Where that fails, the engine stays with what it has. */
int ior__uring_move(struct uring *u, bool deferred)
{
    struct io_uring ring;
    int err = open_ring(u, deferred, &ring);
    if (err < 0)
        return err;
    u->moving = true;
    if (!u->deferred)
        ior__uring_cancel_all(u, false);
    (void)ior__uring_reap(u);
    move_sends(&u->ring, &ring);
    io_uring_queue_exit(&u->ring);
    u->moving = false;
    u->ring = ring;
    u->deferred = deferred;
    forget_armed(u);
    return ior__uring_buffers_move(&u->buffers, &u->ring);
}

/*
 * Stops all that is armed, and reads its last completions: nothing is received, accepted or written afterwards.
 * bounded: gives up after a while (there is no way to say what the kernel waits for then).
 */
void ior__uring_cancel_all(struct uring *u, bool bounded)
{
    uint64_t wait_ns = bounded ? CLOSE_PATIENCE_NS : IOR_NEVER;

    while (u->in_flight > 0) {
        struct io_uring_sqe *sqe = ior__uring_sqe(u);
        if (!sqe)
            return;
        io_uring_prep_cancel64(sqe, 0, IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL);
        sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
        sqe->user_data = uring_user_data(URING_OF_CANCEL, 0, 0);
        int err = ior__uring_enter(u, 1, wait_ns);
        (void)ior__uring_reap(u);
        if (err < 0 && err != -EINTR)
            return;
    }
}
#else
/* ISO C wants a declaration in every file. */
extern const int ior__no_uring_ring;
#endif
