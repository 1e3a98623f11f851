/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine on io_uring(7): it receives, accepts and sends (IOR_ENGINE_DOES_IO), one system call a turn.
 *
 * Watch, rewatch and the like only note what is wanted. A wait then prepares all that is missing (uring_arm.c), hands
 * it to the kernel together with the sends of the turn and waits, in one call (uring_ring.c), reads what was done
 * (uring_complete.c), and tells of the fds for which there is something.
 *
 * `ready` are the fds that have something to tell; `told` those that were told by the last wait. Of these, the next
 * wait keeps what still holds input, and asks the kernel again about what was polled: also about what was found but had
 * no room among the records, so that nothing is told that was true once and is not any more.
 *
 * Invariants: an fd is on at most one of ready and told; between waits only sends are prepared and not submitted.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#if defined(IOR_URING)
#include "uring.h"

#include <errno.h>
#include <string.h>

#define ENTRIES_DEFAULT 512u
#define ENTRIES_MOST 32768u
#define COMPLETIONS_DEFAULT 4096u
#define COMPLETIONS_MOST 65536u
#define BUFFERS_MOST 32768u
#define BUFFER_BYTES_MOST (1u << 24)
#define HELD_BYTES_DEFAULT (256u << 10)

/* ---- open and close ---- */

static bool is_power_of_two(uint32_t n)
{
    return (n & (n - 1)) == 0;
}

static int options_in(struct ior_uring_options *options, const void *arg)
{
    int err = ior__struct_in(options, sizeof(*options), arg, sizeof(*options));
    if (err < 0)
        return err;
    options->entries = options->entries ? options->entries : ENTRIES_DEFAULT;
    options->completions = options->completions ? options->completions : COMPLETIONS_DEFAULT;
    options->held_bytes = options->held_bytes ? options->held_bytes : HELD_BYTES_DEFAULT;
    bool valid = (options->flags & ~(uint32_t)IOR_URING_WHOLE_BUFFERS) == 0 && options->reserved == 0 &&
                 is_power_of_two(options->entries) && options->entries <= ENTRIES_MOST &&
                 is_power_of_two(options->completions) && options->completions <= COMPLETIONS_MOST &&
                 options->completions > options->entries && is_power_of_two(options->buffers) &&
                 options->buffers <= BUFFERS_MOST && options->buffer_bytes <= BUFFER_BYTES_MOST &&
                 options->held_bytes <= INT32_MAX;
    return valid ? 0 : -EINVAL;
}

static void free_memory(struct uring *u)
{
    ior__uring_fds_free(u);
    ior__uring_buffers_close(&u->buffers);
    ior__free(u->arena, URING_ARENA_BYTES);
    ior__free(u, sizeof(*u));
}

static int uring_engine_open(const struct ior_engine_config *config, void **ret_engine)
{
    struct uring *u = ior__calloc(sizeof(*u));

    if (!u)
        return -ENOMEM;
    u->os = config->os;
    u->arena = ior__alloc(URING_ARENA_BYTES);
    int err = u->arena ? options_in(&u->options, config->arg) : -ENOMEM;
    if (err < 0)
        goto fail_memory;
    err = ior__waker_open(&u->waker, true);
    if (err < 0)
        goto fail_memory;
    err = ior__uring_open_ring(u);
    if (err < 0)
        goto fail_waker;
    if (config->unasked && !u->buffers.incremental) {
        ior__log(IOR_LOG_INFO, "engine uring is the default from Linux 6.12 on");
        err = -EOPNOTSUPP;
        goto fail_ring;
    }
    *ret_engine = u;
    return 0;

fail_ring:
    ior__uring_close_ring(u);
fail_waker:
    ior__waker_close(&u->waker);
fail_memory:
    free_memory(u);
    return err;
}

/* In a forked child the ring is still the parent's, and goes on in it: only the child's fds and memory go. */
static void uring_engine_close(void *engine, bool in_child)
{
    struct uring *u = engine;

    if (!in_child)
        ior__uring_cancel_all(u, true);
    ior__uring_close_ring(u);
    ior__waker_close(&u->waker);
    free_memory(u);
}

/* ---- the set ---- */

static uint32_t dev_of(const struct stat *st)
{
    return (uint32_t)((uint64_t)st->st_dev ^ (uint64_t)st->st_dev >> 32);
}

static bool same_file(const struct uring_fd *entry, const struct stat *st)
{
    return entry->ino == (uint64_t)st->st_ino && entry->dev == dev_of(st);
}

/* 0; -EBADF: somebody closed it; -ENOENT: it is not in the set, or its number is another file's by now. */
static int still_open(const struct uring_fd *entry, int fd)
{
    struct stat st;

    if (!entry || !(entry->flags & URING_WATCHED))
        return -ENOENT;
    if (fstat(fd, &st) < 0)
        return -errno;
    return same_file(entry, &st) ? 0 : -ENOENT;
}

/* A foreign loop sleeps on the ring's fd: what changes must be armed at once. */
static void arm_now(struct uring *u)
{
    if (!u->polled)
        return;
    (void)ior__uring_arm(u);
    (void)ior__uring_enter(u, 0, 0);
}

static int uring_engine_watch(void *engine, int fd, ior_id id, unsigned interest)
{
    struct uring *u = engine;
    struct uring_fd *entry;
    struct stat st;

    /* Before the table grows: a number that is no open fd can be any number. */
    if (fstat(fd, &st) < 0)
        return -errno;
    if (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode) || S_ISBLK(st.st_mode))
        return -EPERM;
    int err = ior__uring_fd_make(u, fd, &entry);
    if (err < 0)
        return err;
    if (entry->flags & URING_WATCHED) {
        if (same_file(entry, &st))
            return -EEXIST;
        ior__uring_settle(u, entry, fd);
    }
    if (entry->id != id)
        ior__uring_drop(u, entry);
    entry->id = id;
    entry->ino = (uint64_t)st.st_ino;
    entry->dev = dev_of(&st);
    entry->wanted = (uint8_t)interest;
    entry->flags = (uint16_t)((entry->flags & ~URING_HALF_CLOSED) | URING_WATCHED);
    uring_dirty_add(u, entry, fd);
    if (uring_has_input(entry))
        uring_ready_add(&u->ready, entry, fd);
    arm_now(u);
    return 0;
}

static int uring_engine_rewatch(void *engine, int fd, ior_id id, unsigned interest)
{
    struct uring *u = engine;
    struct uring_fd *entry = fd >= 0 ? uring_at(u, fd) : NULL;
    int err = still_open(entry, fd);

    if (err < 0)
        return err;
    entry->id = id;
    entry->wanted = (uint8_t)interest;
    uring_dirty_add(u, entry, fd);
    if (uring_has_input(entry))
        uring_ready_add(&u->ready, entry, fd);
    arm_now(u);
    return 0;
}

static int uring_engine_unwatch(void *engine, int fd, ior_id id)
{
    struct uring *u = engine;
    struct uring_fd *entry = fd >= 0 ? uring_at(u, fd) : NULL;
    int err = still_open(entry, fd);

    (void)id;
    if (entry && (entry->flags & URING_WATCHED)) {
        uring_clear(entry, URING_WATCHED);
        ior__uring_settle(u, entry, fd);
    }
    return err;
}

static int uring_engine_rebuild(void *engine)
{
    struct uring *u = engine;

    for (uint32_t page = 0; page < u->page_count; page++) {
        for (uint32_t i = 0; u->pages[page] && i < URING_PAGE; i++) {
            struct uring_fd *entry = &u->pages[page][i];
            uring_clear(entry, URING_WATCHED);
            entry->wanted = entry->ready = 0;
        }
    }
    ior__uring_cancel_all(u, false);
    arm_now(u);
    return 0;
}

/* ---- waiting ---- */

/*
 * What a poll told is not believed any longer, and what is left of input stays to be told. Where buffers are scarce,
 * those that were told and took nothing do not keep theirs. The others do: they will be served, and what comes
 * meanwhile waits in the kernel, or the memory held would grow with all that their peers have to say.
 */
static void look_again(struct uring *u, uint32_t first, bool scarce)
{
    while (first) {
        int fd = (int)(first - 1);
        struct uring_fd *entry = uring_at(u, fd);
        first = entry->next_ready;
        uring_clear(entry, URING_IN_READY);
        if (entry->ready) {
            entry->ready = 0;
            uring_dirty_add(u, entry, fd);
        }
        if (uring_has_input(entry)) {
            if (scarce && (entry->flags & URING_UNTAKEN))
                ior__uring_copy_out(u, entry);
            uring_ready_add(&u->ready, entry, fd);
        }
    }
}

/* Those that had no room among the last records come before those that were told. */
static void begin(struct uring *u)
{
    bool scarce = u->buffers.given < u->buffers.count / 2;
    uint32_t ready = u->ready.first, told = u->told;

    u->ready.first = u->told = 0;
    look_again(u, ready, scarce);
    look_again(u, told, scarce);
}

/* Whether there is, or may be, something to tell without a wait. */
static bool has_to_tell(const struct uring *u)
{
    bool starved_go_on = u->starved.first && u->buffers.given > 0; /* those whose turn was not yet */

    return u->ready.first || u->woken || starved_go_on;
}

/* Fills in what there is to tell, and moves whom it tells of from `ready` to `told`, which is empty. */
static int collect(struct uring *u, struct ior_record *records, int max)
{
    uint32_t *link = &u->told;
    int count = 0;

    while (u->ready.first && count < max) {
        uint32_t at = u->ready.first;
        struct uring_fd *entry = uring_at(u, (int)(at - 1));
        uint32_t what = uring_what(entry);
        u->ready.first = entry->next_ready;
        if (IOR_LIKELY(what)) {
            records[count++] = (struct ior_record){.id = entry->id, .what = what};
            entry->flags |= URING_UNTAKEN;
            *link = at;
            link = &entry->next_ready;
        } else {
            uring_clear(entry, URING_IN_READY);
            entry->ready = 0;
            if (entry->held_first)
                ior__uring_copy_out(u, entry); /* nobody asks for it now: it must not keep the others' buffers */
            uring_dirty_add(u, entry, (int)(at - 1));
        }
    }
    *link = 0;
    return count;
}

/* Whether the wait has an answer without records: a wake, or a send that came short. */
static bool take_signals(struct uring *u)
{
    bool any = u->woken || u->send_fell_short;

    u->woken = u->send_fell_short = false;
    return any;
}

/* Whether a wait that brought nothing is over: the deadline has come, or a signal. */
static bool is_over(struct uring *u, int err, unsigned reaped, uint64_t deadline_ns)
{
    if (deadline_ns == 0 || err == -EINTR)
        return true;
    /* A time-out of the kernel's is believed only once our clock agrees. */
    if (deadline_ns != IOR_NEVER && u->os->clock(u->os->arg) >= deadline_ns)
        return true;
    /* It took what was submitted and then stopped to wait: a time-out, or a signal. */
    return err == 0 && reaped == 0 && (deadline_ns == IOR_NEVER || u->os == ior_os_default());
}

static int uring_engine_wait(void *engine, struct ior_record *records, int max, uint64_t deadline_ns)
{
    struct uring *u = engine;

    if (max <= 0)
        return -EINVAL;
    if (!u->deferred)
        (void)ior__uring_reap(u); /* what was done between the waits */
    begin(u);
    for (;;) {
        uint64_t wait_ns = deadline_ns == IOR_NEVER ? IOR_NEVER : deadline_ns ? ior__wait_ns(u->os, deadline_ns) : 0;
        int armed = ior__uring_arm(u);
        if (u->alone.iov_base)
            ior__uring_send_alone(u);
        bool waits = wait_ns > 0 && armed == 0 && !has_to_tell(u) && !u->send_fell_short;
        int err = ior__uring_enter(u, waits, wait_ns);
        unsigned reaped = ior__uring_reap(u);
        int count = collect(u, records, max);
        bool signalled = take_signals(u);
        if (IOR_LIKELY(count > 0) || signalled)
            return count;
        if (IOR_UNLIKELY(err == -EBUSY && reaped > 0))
            continue; /* the kernel wanted its completions read before it takes more */
        if (IOR_UNLIKELY(err < 0 && err != -ETIME && err != -EINTR))
            return err;
        if (is_over(u, err, waits ? reaped : 1, deadline_ns))
            return 0;
    }
}

static int uring_engine_wake(void *engine)
{
    return ior__waker_wake(&((const struct uring *)engine)->waker);
}

/* ---- for foreign loops, and for threads that stay ---- */

static int uring_engine_fd(void *engine)
{
    struct uring *u = engine;

    if (!u->polled) {
        int err = u->deferred ? ior__uring_move(u, false) : 0;
        if (err < 0)
            return err;
        u->polled = true;
        arm_now(u);
    }
    return u->ring.ring_fd;
}

/* An operation that does nothing makes the ring's fd readable: there is more to tell. */
static void nudge(struct uring *u)
{
    struct io_uring_sqe *sqe = ior__uring_sqe(u);

    if (!sqe)
        return;
    io_uring_prep_nop(sqe);
    sqe->user_data = uring_user_data(URING_OF_NOTHING, 0, 0);
}

static int uring_engine_flush(void *engine)
{
    struct uring *u = engine;

    if (u->alone.iov_base)
        ior__uring_send_alone(u);
    if (u->polled) {
        begin(u);
        (void)ior__uring_arm(u);
        if (has_to_tell(u) || u->send_fell_short)
            nudge(u);
    } else if (u->sends_begun == u->sends_submitted) {
        return 0;
    }
    return ior__uring_enter(u, 0, 0);
}

static void uring_engine_stay(void *engine)
{
    struct uring *u = engine;

    if (!u->polled && !u->deferred)
        (void)ior__uring_move(u, true); /* where it cannot, the plain one does as well */
}

/* ---- input ---- */

static ssize_t uring_engine_recv(void *engine, int fd, ior_id id, void *bytes, size_t len)
{
    struct uring *u = engine;
    struct uring_fd *entry = uring_find(u, fd, id);

    if (IOR_UNLIKELY(!entry))
        return -EAGAIN;
    uring_clear(entry, URING_UNTAKEN);
    if (IOR_LIKELY(entry->held_first)) {
        size_t n = ior__uring_take_bytes(u, entry, bytes, len);
        if (IOR_UNLIKELY(!(entry->flags & URING_INPUT)))
            uring_dirty_add(u, entry, fd);
        return (ssize_t)n;
    }
    if (!(entry->flags & URING_ERROR))
        return -EAGAIN;
    uring_clear(entry, URING_ERROR);
    uring_dirty_add(u, entry, fd);
    return -entry->error;
}

static int uring_engine_accept(void *engine, int fd, ior_id id)
{
    struct uring *u = engine;
    struct uring_fd *entry = uring_find(u, fd, id);

    if (!entry)
        return -EAGAIN;
    if (entry->held_first) {
        if (!(entry->flags & URING_INPUT))
            uring_dirty_add(u, entry, fd);
        return ior__uring_take_fd(u, entry);
    }
    if (!(entry->flags & URING_ERROR))
        return -EAGAIN;
    uring_clear(entry, URING_ERROR);
    uring_dirty_add(u, entry, fd);
    return -entry->error;
}

const struct ior_engine_ops ior__engine_uring = {
    .struct_size = sizeof(struct ior_engine_ops),
    .features = IOR_ENGINE_HAS_FD | IOR_ENGINE_DOES_IO,
    .name = "uring",
    .open = uring_engine_open,
    .close = uring_engine_close,
    .watch = uring_engine_watch,
    .rewatch = uring_engine_rewatch,
    .unwatch = uring_engine_unwatch,
    .wait = uring_engine_wait,
    .wake = uring_engine_wake,
    .rebuild = uring_engine_rebuild,
    .fd = uring_engine_fd,
    .recv = uring_engine_recv,
    .accept = uring_engine_accept,
    .send = ior__uring_send,
    .sent = ior__uring_sent,
    .flush = uring_engine_flush,
    .stay = uring_engine_stay,
};
#else
/* ISO C wants a declaration in every file. */
extern const int ior__no_uring;
#endif
