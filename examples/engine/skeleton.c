/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A skeleton engine: the whole of what a runtime asks of an engine, done in the plainest way, on poll(2). Copy it, and
 * replace what waits.
 *
 * An engine holds a set of fds, each with an id and an interest, and fills records when something happened. It never
 * calls the runtime or a service, so it needs no care for what changes under its feet. All calls but `wake` come from
 * one thread. Here the set is two arrays in step: polled[i] is what poll(2) reads, ids[i] belongs to it; entry 0 is the
 * waker. Everything is looked up in order, O(n): fine for a skeleton and for a hundred fds.
 */
#include "skeleton.h"

#include <errno.h>
#include <fcntl.h>
#include <ioreactor/os.h>
#include <ioreactor/time.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct skeleton {
    const struct ior_os *os; /* its clock is the one that deadlines are on */
    struct pollfd *polled;
    ior_id *ids;
    nfds_t n, room, next; /* next: where the search for ready ones goes on, so that everyone gets a turn */
    int wake_write;       /* the other end of polled[0].fd */
};

static short skeleton_events(unsigned interest)
{
    /* HUP and ERR are told by poll(2) whether asked for or not, as the contract wants it. */
    return (short)((interest & IOR_READ ? POLLIN : 0) | (interest & IOR_WRITE ? POLLOUT : 0));
}

static unsigned skeleton_what(short revents)
{
    return (revents & POLLIN ? (unsigned)IOR_READ : 0) | (revents & POLLOUT ? (unsigned)IOR_WRITE : 0) |
           (revents & POLLHUP ? (unsigned)IOR_HUP : 0) | (revents & POLLERR ? (unsigned)IOR_ERR : 0) |
           (revents & POLLNVAL ? (unsigned)IOR_BAD : 0);
}

/* The place of an fd, 0 where it is not in the set (0 is the waker's). */
static nfds_t skeleton_find(const struct skeleton *skeleton, int fd)
{
    for (nfds_t i = 1; i < skeleton->n; i++)
        if (skeleton->polled[i].fd == fd)
            return i;
    return 0;
}

static int skeleton_add(struct skeleton *skeleton, int fd, ior_id id, unsigned interest)
{
    if (skeleton->n == skeleton->room) {
        nfds_t room = skeleton->room ? 2 * skeleton->room : 64;
        struct pollfd *polled = realloc(skeleton->polled, room * sizeof *polled);
        if (!polled)
            return -ENOMEM;
        skeleton->polled = polled;
        ior_id *ids = realloc(skeleton->ids, room * sizeof *ids);
        if (!ids)
            return -ENOMEM;
        skeleton->ids = ids;
        skeleton->room = room;
    }
    skeleton->polled[skeleton->n] = (struct pollfd){.fd = fd, .events = skeleton_events(interest)};
    skeleton->ids[skeleton->n++] = id;
    return 0;
}

/* The rest of the interface, in the order of struct ior_engine_ops. */

static void skeleton_close(void *engine, bool in_child)
{
    struct skeleton *skeleton = engine;
    (void)in_child; /* poll(2) has no kernel object that parent and child would share; epoll has. */
    if (skeleton->n)
        close(skeleton->polled[0].fd);
    if (skeleton->wake_write >= 0)
        close(skeleton->wake_write);
    free(skeleton->polled);
    free(skeleton->ids);
    free(skeleton);
}

static int skeleton_open(const struct ior_engine_config *config, void **ret_engine)
{
    struct skeleton *skeleton = calloc(1, sizeof *skeleton);
    int ends[2], err;
    if (!skeleton)
        return -ENOMEM;
    skeleton->os = config->os;
    skeleton->wake_write = -1;
    skeleton->next = 1;
    if (pipe2(ends, O_NONBLOCK | O_CLOEXEC) < 0) {
        err = -errno;
        skeleton_close(skeleton, false);
        return err;
    }
    skeleton->wake_write = ends[1];
    err = skeleton_add(skeleton, ends[0], 0, IOR_READ);
    if (err < 0) {
        close(ends[0]);
        skeleton_close(skeleton, false);
        return err;
    }
    *ret_engine = skeleton;
    return 0;
}

static int skeleton_watch(void *engine, int fd, ior_id id, unsigned interest)
{
    struct skeleton *skeleton = engine;
    struct stat st;
    if (skeleton_find(skeleton, fd))
        return -EEXIST;
    if (fstat(fd, &st) < 0)
        return -errno;
    if (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode))
        return -EPERM; /* Always ready: the runtime serves it without us. */
    return skeleton_add(skeleton, fd, id, interest);
}

static int skeleton_rewatch(void *engine, int fd, ior_id id, unsigned interest)
{
    struct skeleton *skeleton = engine;
    nfds_t i = skeleton_find(skeleton, fd);
    if (!i)
        return -ENOENT;
    skeleton->ids[i] = id;
    skeleton->polled[i].events = skeleton_events(interest);
    return 0;
}

static int skeleton_unwatch(void *engine, int fd, ior_id id)
{
    struct skeleton *skeleton = engine;
    nfds_t i = skeleton_find(skeleton, fd);
    (void)id;
    if (!i)
        return -ENOENT;
    skeleton->n--;
    skeleton->polled[i] = skeleton->polled[skeleton->n];
    skeleton->ids[i] = skeleton->ids[skeleton->n];
    return 0;
}

/* How long poll(2) may wait: rounded up, because the runtime relies on wait never being early; a long one is cut. */
static int skeleton_timeout_ms(const struct skeleton *skeleton, uint64_t deadline_ns)
{
    uint64_t ms;
    if (deadline_ns == 0)
        return 0;
    if (deadline_ns == IOR_NEVER)
        return -1;
    ms = ior_time_sub(deadline_ns, skeleton->os->clock(skeleton->os->arg));
    ms = ms / IOR_NS_PER_MS + (ms % IOR_NS_PER_MS != 0);
    return ms > 1000000000 ? 1000000000 : (int)ms;
}

static int skeleton_wait(void *engine, struct ior_record *records, int max, uint64_t deadline_ns)
{
    struct skeleton *skeleton = engine;
    char drain[64];
    int ready = poll(skeleton->polled, skeleton->n, skeleton_timeout_ms(skeleton, deadline_ns));
    int filled = 0;
    if (ready < 0)
        return errno == EINTR ? 0 : -errno; /* The deadline is absolute: the runtime calls again. */
    if (skeleton->polled[0].revents)
        while (read(skeleton->polled[0].fd, drain, sizeof drain) > 0)
            ;
    for (nfds_t looked = 1; looked < skeleton->n && filled < max; looked++) {
        if (skeleton->next >= skeleton->n)
            skeleton->next = 1;
        nfds_t i = skeleton->next++;
        if (skeleton->polled[i].revents)
            records[filled++] =
                (struct ior_record){.id = skeleton->ids[i], .what = skeleton_what(skeleton->polled[i].revents)};
    }
    return filled;
}

static int skeleton_wake(void *engine)
{
    const struct skeleton *skeleton = engine;
    int saved = errno, err = 0;
    /* A full pipe is as good as one byte more: the wait returns. */
    while (write(skeleton->wake_write, "", 1) < 0) {
        if (errno != EINTR) {
            err = errno == EAGAIN ? 0 : -errno;
            break;
        }
    }
    errno = saved;
    return err;
}

static int skeleton_rebuild(void *engine)
{
    ((struct skeleton *)engine)->n = 1; /* All but the waker. */
    return 0;
}

const struct ior_engine_ops skeleton_engine = {
    .struct_size = sizeof(struct ior_engine_ops),
    .features = 0,
    .name = "skeleton",
    .open = skeleton_open,
    .close = skeleton_close,
    .watch = skeleton_watch,
    .rewatch = skeleton_rewatch,
    .unwatch = skeleton_unwatch,
    .wait = skeleton_wait,
    .wake = skeleton_wake,
    .rebuild = skeleton_rebuild,
};
