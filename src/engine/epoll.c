/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine on epoll(7), level-triggered. The kernel keeps the set, with the id as each entry's data, so that an fd
 * costs no memory here and a record costs a few instructions.
 *
 * epoll entries belong to open files, not to fds: one whose fd was closed while a duplicate lives goes on reporting,
 * and no call can take it out any more. Only a new set gets rid of it: rebuild puts a new epoll file under the old
 * number. A foreign poll(2) loop that polls this number notices nothing; a foreign epoll loop has to add it again.
 *
 * EPOLLRDHUP is not asked for: a half-closed peer is found by reading, at the place in the stream where it is true.
 *
 * Invariants: id 0 is the waker's and never leaves this file; epoll_fd keeps its number from open to close.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#if defined(__linux__)
#include "engine.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../util.h"

#define WAKER_ID 0

_Static_assert((int)EPOLLIN == IOR_READ && (int)EPOLLOUT == IOR_WRITE && (int)EPOLLERR == IOR_ERR &&
                   (int)EPOLLHUP == IOR_HUP,
               "the flags of an event are those of a record");

/* Since Linux 5.11; the same number everywhere but on Alpha. Its timespec has 64 bits also on 32-bit systems. */
#if !defined(SYS_epoll_pwait2) && !defined(__alpha__)
#define SYS_epoll_pwait2 441
#endif
struct timespec64 {
    int64_t tv_sec;
    int64_t tv_nsec;
};

struct epoll_engine {
    int epoll_fd;
    struct ior__waker waker;
    const struct ior_os *os;
    bool no_pwait2;            /* the kernel, or a filter, does not let us */
    struct timespec64 timeout; /* of the wait that is to come: not on the stack, where it would cost a canary */
    uint32_t max_records;
    struct epoll_event events[];
};

static size_t engine_size(uint32_t max_records)
{
    return sizeof(struct epoll_engine) + max_records * sizeof(struct epoll_event);
}

static int open_set(const struct ior__waker *waker)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = WAKER_ID};
    int fd = ior__above_stdio(epoll_create1(EPOLL_CLOEXEC));

    if (fd < 0)
        return fd;
    if (epoll_ctl(fd, EPOLL_CTL_ADD, waker->read_fd, &event) < 0) {
        int err = -errno;
        close(fd);
        return err;
    }
    return fd;
}

static int epoll_engine_open(const struct ior_engine_config *config, void **ret_engine)
{
    if (config->max_records == 0 || config->max_records > INT32_MAX / sizeof(struct epoll_event))
        return -EINVAL;
    struct epoll_engine *engine = ior__calloc(engine_size(config->max_records));
    if (!engine)
        return -ENOMEM;
    engine->os = config->os;
    engine->max_records = config->max_records;
    int err = ior__waker_open(&engine->waker, true);
    if (err < 0)
        goto fail_engine;
    engine->epoll_fd = open_set(&engine->waker);
    if (engine->epoll_fd < 0) {
        err = engine->epoll_fd;
        goto fail_waker;
    }
    *ret_engine = engine;
    return 0;

fail_waker:
    ior__waker_close(&engine->waker);
fail_engine:
    ior__free(engine, engine_size(config->max_records));
    return err;
}

/* Only closes, in a forked child too: the parent's fds keep its set and its waker as they are. */
static void epoll_engine_close(void *ptr, bool in_child)
{
    struct epoll_engine *engine = ptr;

    (void)in_child;
    close(engine->epoll_fd);
    ior__waker_close(&engine->waker);
    ior__free(engine, engine_size(engine->max_records));
}

static int control(const struct epoll_engine *engine, int op, int fd, ior_id id, unsigned interest)
{
    struct epoll_event event = {.events = interest & (IOR_READ | IOR_WRITE), .data.u64 = id};

    return epoll_ctl(engine->epoll_fd, op, fd, &event) < 0 ? -errno : 0;
}

static int epoll_engine_watch(void *engine, int fd, ior_id id, unsigned interest)
{
    return control(engine, EPOLL_CTL_ADD, fd, id, interest);
}

static int epoll_engine_rewatch(void *engine, int fd, ior_id id, unsigned interest)
{
    return control(engine, EPOLL_CTL_MOD, fd, id, interest);
}

static int epoll_engine_unwatch(void *engine, int fd, ior_id id)
{
    return control(engine, EPOLL_CTL_DEL, fd, id, 0);
}

/* A wait that ends at the deadline, or after the longest wait. */
static IOR_APART int wait_until(struct epoll_engine *engine, int max, uint64_t deadline_ns)
{
    uint64_t wait_ns = ior__wait_ns(engine->os, deadline_ns);
#if defined(SYS_epoll_pwait2)
    if (IOR_LIKELY(!engine->no_pwait2)) {
        engine->timeout = (struct timespec64){(int64_t)(wait_ns / IOR_NS_PER_SEC), (int64_t)(wait_ns % IOR_NS_PER_SEC)};
        int n =
            (int)syscall(SYS_epoll_pwait2, engine->epoll_fd, engine->events, max, &engine->timeout, NULL, (size_t)0);
        /* EPERM is what some seccomp filters say of calls they do not know. */
        if (IOR_LIKELY(n >= 0) || (errno != ENOSYS && errno != EPERM))
            return n;
        engine->no_pwait2 = true;
    }
#endif
    return epoll_wait(engine->epoll_fd, engine->events, max, ior__wait_ms(wait_ns));
}

/* One wait of the kernel's. */
static inline int wait_once(struct epoll_engine *engine, int max, uint64_t deadline_ns)
{
    if (deadline_ns == 0 || deadline_ns == IOR_NEVER)
        return epoll_wait(engine->epoll_fd, engine->events, max, deadline_ns == 0 ? 0 : -1);
    return wait_until(engine, max, deadline_ns);
}

/* The first wait ended without an event. A time-out of the kernel's is believed only once our clock agrees. */
static IOR_APART int wait_on(struct epoll_engine *engine, int max, uint64_t deadline_ns, int n)
{
    while (n == 0 && deadline_ns != 0 && engine->os->clock(engine->os->arg) < deadline_ns)
        n = wait_once(engine, max, deadline_ns);
    if (n < 0)
        return errno == EINTR ? 0 : -errno;
    return n;
}

static int epoll_engine_wait(void *ptr, struct ior_record *records, int max, uint64_t deadline_ns)
{
    struct epoll_engine *engine = ptr;
    struct ior_record *record = records;

    if (max <= 0)
        return -EINVAL;
    if ((uint32_t)max > engine->max_records)
        max = (int)engine->max_records;
    int n = wait_once(engine, max, deadline_ns);
    if (IOR_UNLIKELY(n <= 0)) {
        n = wait_on(engine, max, deadline_ns, n);
        if (n < 0)
            return n;
    }
    for (const struct epoll_event *event = engine->events, *end = event + n; event < end; event++) {
        if (IOR_UNLIKELY(event->data.u64 == WAKER_ID)) {
            ior__waker_drain(&engine->waker);
            continue;
        }
        record->id = event->data.u64;
        record->what = event->events; /* the same flags, and no others are asked for */
        record++;
    }
    return (int)(record - records);
}

static int epoll_engine_wake(void *ptr)
{
    const struct epoll_engine *engine = ptr;

    return ior__waker_wake(&engine->waker);
}

static int epoll_engine_rebuild(void *ptr)
{
    struct epoll_engine *engine = ptr;
    int fd = open_set(&engine->waker);
    int err = 0;

    if (fd < 0)
        return fd;
    while (dup3(fd, engine->epoll_fd, O_CLOEXEC) < 0) {
        /* EBUSY: another thread is just opening a file under this number, which only a stray close makes possible. */
        if (errno != EINTR && errno != EBUSY) {
            err = -errno;
            break;
        }
    }
    close(fd);
    return err;
}

static int epoll_engine_fd(void *ptr)
{
    const struct epoll_engine *engine = ptr;

    return engine->epoll_fd;
}

const struct ior_engine_ops ior__engine_epoll = {
    .struct_size = sizeof(struct ior_engine_ops),
    .features = IOR_ENGINE_HAS_FD,
    .name = "epoll",
    .open = epoll_engine_open,
    .close = epoll_engine_close,
    .watch = epoll_engine_watch,
    .rewatch = epoll_engine_rewatch,
    .unwatch = epoll_engine_unwatch,
    .wait = epoll_engine_wait,
    .wake = epoll_engine_wake,
    .rebuild = epoll_engine_rebuild,
    .fd = epoll_engine_fd,
};
#else
/* ISO C wants a declaration in every file. */
extern const int ior__no_epoll;
#endif
