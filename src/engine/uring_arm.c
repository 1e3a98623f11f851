/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is armed follows what is wanted. Changes only put an fd on the dirty list; here, before a wait, each of them
 * gets the operations it lacks and loses those it should not have. So whatever is changed and changed back in a turn
 * costs nothing, and all changes are submitted together with the sends of the turn.
 *
 * Input, where the engine receives or accepts, is one multishot operation that goes on by itself. All else is polled,
 * with polls of one shot: a poll that was told is armed again by the next wait, and is answered at once if the
 * condition still holds. That is level-triggered, and asks the kernel for the truth each time.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#if defined(IOR_URING)
#include "uring.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

/* Streams that go on at once when buffers come back: about as many as a turn serves. */
#define URING_STARVED_MOST 256u

static uint32_t next_tag(struct uring *u)
{
    return u->tag = (u->tag + 1) & URING_TAG_MASK;
}

static bool cancel(struct uring *u, int fd, enum uring_kind kind, uint32_t tag)
{
    struct io_uring_sqe *sqe = ior__uring_sqe(u);

    if (!sqe)
        return false;
    io_uring_prep_cancel64(sqe, uring_user_data(kind, fd, tag), 0);
    sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
    sqe->user_data = uring_user_data(URING_OF_CANCEL, fd, 0);
    return true;
}

static bool stop_input(struct uring *u, struct uring_fd *entry, int fd)
{
    if (entry->flags & URING_STOPPING)
        return true;
    if (!cancel(u, fd, URING_OF_INPUT, entry->input_tag))
        return false;
    entry->flags |= URING_STOPPING;
    return true;
}

static bool stop_poll(struct uring *u, struct uring_fd *entry, int fd)
{
    if (!cancel(u, fd, URING_OF_POLL, entry->poll_tag))
        return false;
    uring_clear(entry, URING_POLL | URING_POLL_SPENT);
    entry->stale_polls++;
    return true;
}

static bool start_input(struct uring *u, struct uring_fd *entry, int fd)
{
    bool accepts = (entry->wanted & IOR_ACCEPTS) != 0;

    if (!accepts && u->buffers.given == 0) {
        uring_starved_add(u, entry, fd); /* until some come back */
        return true;
    }
    struct io_uring_sqe *sqe = ior__uring_sqe(u);
    if (!sqe)
        return false;
    if (accepts) {
        io_uring_prep_multishot_accept(sqe, fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        entry->flags |= URING_LISTENS;
    } else {
        io_uring_prep_recv_multishot(sqe, fd, NULL, 0, 0);
        sqe->flags |= IOSQE_BUFFER_SELECT;
        sqe->buf_group = 0;
    }
    entry->flags |= URING_INPUT;
    entry->input_tag = next_tag(u);
    sqe->user_data = uring_user_data(URING_OF_INPUT, fd, entry->input_tag);
    u->in_flight++;
    return true;
}

static bool start_poll(struct uring *u, struct uring_fd *entry, int fd, unsigned interest)
{
    struct io_uring_sqe *sqe = ior__uring_sqe(u);
    unsigned mask = (interest & IOR_READ ? POLLIN : 0u) | (interest & IOR_WRITE ? POLLOUT : 0u);

    if (!sqe)
        return false;
    if ((entry->flags & URING_HALF_CLOSED) && !(interest & IOR_READ))
        io_uring_prep_poll_multishot(sqe, fd, mask);
    else
        io_uring_prep_poll_add(sqe, fd, mask);
    entry->flags |= URING_POLL;
    entry->poll_mask = (uint8_t)interest;
    entry->poll_tag = next_tag(u);
    sqe->user_data = uring_user_data(URING_OF_POLL, fd, entry->poll_tag);
    u->in_flight++;
    return true;
}

/* Whether the engine is to receive or accept now. */
static bool wants_input(const struct uring *u, const struct uring_fd *entry)
{
    return (entry->wanted & IOR_READ) && (entry->wanted & (IOR_RECEIVES | IOR_ACCEPTS)) &&
           !(entry->flags & (URING_ENDED | URING_ERROR)) && !uring_is_full(u, entry);
}

/* What is to be polled for; -1: nothing. HUP and ERR are told to whoever would not hear of them otherwise. */
static int wants_poll(const struct uring_fd *entry)
{
    bool by_engine = (entry->wanted & (IOR_RECEIVES | IOR_ACCEPTS)) != 0;
    unsigned mask = entry->wanted & (by_engine ? IOR_WRITE : IOR_READ | IOR_WRITE);
    bool hears = by_engine && (entry->wanted & IOR_READ) && (!(entry->flags & URING_ENDED) || uring_has_input(entry));

    if (!(entry->flags & URING_WATCHED) || entry->ready)
        return -1;
    return mask || !hears ? (int)mask : -1;
}

/* False: the kernel takes no more. */
static bool arm_one(struct uring *u, struct uring_fd *entry, int fd)
{
    bool input = (entry->flags & URING_WATCHED) && wants_input(u, entry);
    int poll = wants_poll(entry);
    bool done = true;

    if (input && !(entry->flags & URING_INPUT))
        done = start_input(u, entry, fd);
    else if (!input && (entry->flags & URING_INPUT))
        done = stop_input(u, entry, fd);
    if (done && (entry->flags & URING_POLL) && (poll != entry->poll_mask || (entry->flags & URING_POLL_SPENT)))
        done = stop_poll(u, entry, fd);
    if (done && poll >= 0 && !(entry->flags & URING_POLL))
        done = start_poll(u, entry, fd, (unsigned)poll);
    return done;
}

static int arm_waker(struct uring *u)
{
    struct io_uring_sqe *sqe = ior__uring_sqe(u);

    if (!sqe)
        return -EAGAIN;
    io_uring_prep_poll_add(sqe, u->waker.read_fd, POLLIN);
    sqe->user_data = uring_user_data(URING_OF_WAKER, 0, 0);
    u->in_flight++;
    u->waker_armed = true;
    return 0;
}

/* Puts one list behind another; both are linked through next_dirty. */
static void list_join(struct uring_list *list, const struct uring_list *behind)
{
    if (!behind->first)
        return;
    if (list->first)
        list->last->next_dirty = behind->first;
    else
        list->first = behind->first;
    list->last = behind->last;
}

/* Arms the first `most` of a list, and takes them off it. -EAGAIN: the kernel takes no more; the rest stays on it. */
static int arm_list(struct uring *u, struct uring_list *list, uint32_t most)
{
    for (; list->first && most > 0; most--) {
        int fd = (int)(list->first - 1);
        struct uring_fd *entry = uring_at(u, fd);
        list->first = entry->next_dirty;
        uring_clear(entry, URING_IN_DIRTY);
        if (!arm_one(u, entry, fd)) {
            uring_dirty_add(u, entry, fd);
            return -EAGAIN;
        }
    }
    return 0;
}

/*
 * Prepares all that is missing. The list is taken whole: what comes on it meanwhile is for the next time. Of streams
 * without buffers a few go on each time, the first of them: all at once they would but find that there are not enough.
 */
int ior__uring_arm(struct uring *u)
{
    struct uring_list list = u->dirty;
    int err = u->waker_armed ? 0 : arm_waker(u);

    u->dirty = (struct uring_list){.first = 0};
    if (err == 0)
        err = arm_list(u, &list, UINT32_MAX);
    if (IOR_UNLIKELY(u->starved.first != 0) && err == 0 && u->buffers.given > 0) {
        struct uring_list starved = u->starved;
        u->starved = (struct uring_list){.first = 0};
        err = arm_list(u, &starved, URING_STARVED_MOST);
        list_join(&starved, &u->starved);
        u->starved = starved;
    }
    if (IOR_UNLIKELY(list.first != 0)) {
        list_join(&list, &u->dirty);
        u->dirty = list;
    }
    return err;
}

/* Stops all that is armed for an fd, and waits for the last of it: it is the kernel's no more. */
void ior__uring_settle(struct uring *u, struct uring_fd *entry, int fd)
{
    const unsigned armed = URING_INPUT | URING_POLL;
    bool asked = true;

    entry->wanted = 0;
    entry->ready = 0;
    while ((entry->flags & armed) || entry->stale_polls > 0) {
        if (asked && (entry->flags & URING_INPUT))
            asked = stop_input(u, entry, fd);
        if (asked && (entry->flags & URING_POLL))
            asked = stop_poll(u, entry, fd);
        int err = ior__uring_enter(u, 1, IOR_NEVER);
        (void)ior__uring_reap(u);
        if (!asked || (err < 0 && err != -EINTR && err != -EAGAIN && err != -EBUSY))
            break; /* cannot be */
    }
    entry->ready = 0;
}
#else
/* ISO C wants a declaration in every file. */
extern const int ior__no_uring_arm;
#endif
