/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine on poll(2): works everywhere, and is the one to read first. The set is an array of pollfds, with what
 * belongs to each beside it, and a table from fd to place. Entry 0 is the waker's.
 *
 * poll(2) goes by number, where epoll goes by open file. So that a number which somebody closed, and which came again,
 * is not taken for what it was, each entry knows its file's inode (as far as files have their own: sockets and pipes
 * do).
 *
 * A wait costs O(watched fds). Where more are ready than were asked for, the next wait begins to look where this one
 * stopped, so that everyone gets a turn.
 *
 * Invariants: place[fd] is the index of the entry with that fd, or 0 for none (entry 0 is not found by fd); a request
 * that fails leaves the set as it was.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "engine.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "../util.h"

/* Beside each pollfd. */
struct entry {
    ior_id id;
    dev_t dev;
    ino_t ino;
};

struct poll_engine {
    struct ior__waker waker;
    const struct ior_os *os;
    struct pollfd *fds;
    struct entry *entries;
    uint32_t *place;
    size_t count; /* entries in use, the waker's included */
    size_t fds_room, entries_room, place_room;
    size_t start; /* where the next look begins */
};

/* Makes an array hold `need` elements; *room is how many it holds. False: out of memory. */
static bool grow(void **array, size_t *room, size_t need, size_t element_size)
{
    size_t more = *room < 16 ? 16 : *room;

    if (need <= *room)
        return true;
    while (more < need)
        more *= 2;
    void *bigger = ior__realloc(*array, *room * element_size, more * element_size);
    if (!bigger)
        return false;
    memset((unsigned char *)bigger + *room * element_size, 0, (more - *room) * element_size);
    *array = bigger;
    *room = more;
    return true;
}

static bool make_room(struct poll_engine *engine, size_t fd)
{
    void *fds = engine->fds, *entries = engine->entries, *place = engine->place;
    bool grown = grow(&fds, &engine->fds_room, engine->count + 1, sizeof(*engine->fds)) &&
                 grow(&entries, &engine->entries_room, engine->count + 1, sizeof(*engine->entries)) &&
                 grow(&place, &engine->place_room, fd + 1, sizeof(*engine->place));

    /* What did grow is kept also where the rest did not. */
    engine->fds = fds;
    engine->entries = entries;
    engine->place = place;
    return grown;
}

static void free_memory(struct poll_engine *engine)
{
    ior__free(engine->fds, engine->fds_room * sizeof(*engine->fds));
    ior__free(engine->entries, engine->entries_room * sizeof(*engine->entries));
    ior__free(engine->place, engine->place_room * sizeof(*engine->place));
    ior__free(engine, sizeof(*engine));
}

static int poll_engine_open(const struct ior_engine_config *config, void **ret_engine)
{
    struct poll_engine *engine = ior__calloc(sizeof(*engine));

    if (!engine)
        return -ENOMEM;
    engine->os = config->os;
    int err = make_room(engine, 0) ? ior__waker_open(&engine->waker, true) : -ENOMEM;
    if (err < 0) {
        free_memory(engine);
        return err;
    }
    engine->fds[0].fd = engine->waker.read_fd;
    engine->fds[0].events = POLLIN;
    engine->count = 1;
    *ret_engine = engine;
    return 0;
}

static short events_of(unsigned interest)
{
    return (short)((interest & IOR_READ ? POLLIN : 0) | (interest & IOR_WRITE ? POLLOUT : 0));
}

static uint32_t what_of(short revents)
{
    return (revents & POLLIN ? IOR_READ : 0u) | (revents & POLLOUT ? IOR_WRITE : 0u) |
           (revents & POLLHUP ? IOR_HUP : 0u) | (revents & POLLERR ? IOR_ERR : 0u) |
           (revents & POLLNVAL ? IOR_BAD : 0u);
}

static size_t place_of(const struct poll_engine *engine, int fd)
{
    return fd >= 0 && (size_t)fd < engine->place_room ? engine->place[fd] : 0;
}

static void put_entry(struct poll_engine *engine, size_t at, int fd, ior_id id, unsigned interest,
                      const struct stat *st)
{
    engine->fds[at] = (struct pollfd){.fd = fd, .events = events_of(interest)};
    engine->entries[at] = (struct entry){.id = id, .dev = st->st_dev, .ino = st->st_ino};
}

static void remove_entry(struct poll_engine *engine, size_t at)
{
    size_t last = engine->count - 1;
    int fd = engine->fds[at].fd;

    engine->place[engine->fds[last].fd] = (uint32_t)at;
    engine->fds[at] = engine->fds[last];
    engine->entries[at] = engine->entries[last];
    engine->place[fd] = 0;
    engine->count = last;
}

/* 0; -EBADF: somebody closed it; -ENOENT: and the number is another file's by now. */
static int still_open(const struct poll_engine *engine, size_t at)
{
    const struct entry *entry = &engine->entries[at];
    struct stat st;

    if (fstat(engine->fds[at].fd, &st) < 0)
        return -errno;
    return st.st_dev == entry->dev && st.st_ino == entry->ino ? 0 : -ENOENT;
}

static int poll_engine_watch(void *ptr, int fd, ior_id id, unsigned interest)
{
    struct poll_engine *engine = ptr;
    size_t at = place_of(engine, fd);
    struct stat st;

    /* Before the table grows: a number that is no open fd can be any number. */
    if (fstat(fd, &st) < 0)
        return -errno;
    if (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode) || S_ISBLK(st.st_mode))
        return -EPERM;
    if (at != 0 && still_open(engine, at) == 0)
        return -EEXIST;
    if (at == 0) {
        if (!make_room(engine, (size_t)fd))
            return -ENOMEM;
        at = engine->count++;
        engine->place[fd] = (uint32_t)at;
    }
    put_entry(engine, at, fd, id, interest, &st);
    return 0;
}

static int poll_engine_rewatch(void *ptr, int fd, ior_id id, unsigned interest)
{
    struct poll_engine *engine = ptr;
    size_t at = place_of(engine, fd);
    int err = at != 0 ? still_open(engine, at) : -ENOENT;

    if (err == 0) {
        engine->fds[at].events = events_of(interest);
        engine->entries[at].id = id;
    }
    return err;
}

static int poll_engine_unwatch(void *ptr, int fd, ior_id id)
{
    struct poll_engine *engine = ptr;
    size_t at = place_of(engine, fd);
    int err = at != 0 ? still_open(engine, at) : -ENOENT;

    (void)id;
    if (at != 0)
        remove_entry(engine, at);
    return err;
}

static int wait_once(struct poll_engine *engine, uint64_t deadline_ns)
{
    if (deadline_ns == 0 || deadline_ns == IOR_NEVER)
        return poll(engine->fds, (nfds_t)engine->count, deadline_ns == 0 ? 0 : -1);
    uint64_t wait_ns = ior__wait_ns(engine->os, deadline_ns);
#if defined(__linux__) || defined(__FreeBSD__) || defined(__OpenBSD__) || defined(__NetBSD__)
    struct timespec timeout = {(time_t)(wait_ns / IOR_NS_PER_SEC), (long)(wait_ns % IOR_NS_PER_SEC)};
    return ppoll(engine->fds, (nfds_t)engine->count, &timeout, NULL);
#else
    return poll(engine->fds, (nfds_t)engine->count, ior__wait_ms(wait_ns));
#endif
}

/* `ready` of the entries past the waker's have something to tell: fills in the first `max`, beginning at `start`. */
static int collect(struct poll_engine *engine, struct ior_record *records, int max, int ready)
{
    size_t others = engine->count - 1;
    size_t at = engine->start < others ? engine->start : 0;
    int count = 0;

    for (size_t looked = 0; looked < others && count < ready && count < max; looked++) {
        const struct pollfd *entry = &engine->fds[1 + at];

        if (entry->revents != 0)
            records[count++] = (struct ior_record){.id = engine->entries[1 + at].id, .what = what_of(entry->revents)};
        at = at + 1 < others ? at + 1 : 0;
    }
    engine->start = count < ready ? at : 0;
    return count;
}

static int poll_engine_wait(void *ptr, struct ior_record *records, int max, uint64_t deadline_ns)
{
    struct poll_engine *engine = ptr;
    int ready;

    if (max <= 0)
        return -EINVAL;
    do {
        ready = wait_once(engine, deadline_ns);
        /* A time-out of the kernel's is believed only once our clock agrees. */
    } while (ready == 0 && deadline_ns != 0 && engine->os->clock(engine->os->arg) < deadline_ns);
    if (ready < 0)
        return errno == EINTR ? 0 : -errno;
    if (ready > 0 && engine->fds[0].revents != 0) {
        if (engine->fds[0].revents & POLLNVAL)
            return -EBADF; /* Somebody closed our waker: an error, on which the runtime backs off, and no spin. */
        ior__waker_drain(&engine->waker);
        ready--;
    }
    return collect(engine, records, max, ready);
}

static void poll_engine_close(void *ptr, bool in_child)
{
    struct poll_engine *engine = ptr;

    (void)in_child;
    ior__waker_close(&engine->waker);
    free_memory(engine);
}

static int poll_engine_wake(void *ptr)
{
    return ior__waker_wake(&((const struct poll_engine *)ptr)->waker);
}

static int poll_engine_rebuild(void *ptr)
{
    struct poll_engine *engine = ptr;

    for (size_t i = 1; i < engine->count; i++)
        engine->place[engine->fds[i].fd] = 0;
    engine->count = 1;
    return 0;
}

const struct ior_engine_ops ior__engine_poll = {
    .struct_size = sizeof(struct ior_engine_ops),
    .name = "poll",
    .open = poll_engine_open,
    .close = poll_engine_close,
    .watch = poll_engine_watch,
    .rewatch = poll_engine_rewatch,
    .unwatch = poll_engine_unwatch,
    .wait = poll_engine_wait,
    .wake = poll_engine_wake,
    .rebuild = poll_engine_rebuild,
};
