/* SPDX-License-Identifier: Apache-2.0 */
#include "eager.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { HELD_MOST = 16384, HELD_FDS = 64, IOV_MOST = 1024 };
enum { LARGE_BYTES = 8192 }; /* written at once, so that both ways are tried */

/* What the engine knows of a number. */
struct place {
    ior_id id; /* 0: nothing */
    unsigned interest;
    unsigned base_interest; /* what the other engine watches for */
    bool watched;
    bool ended; /* the end, or an error, was received */
    bool told;  /* and taken */
    int error;
    size_t at, len;
    unsigned char *bytes; /* HELD_MOST */
    int fds[HELD_FDS];
    int fds_n;
    struct iovec *iov;
    int iov_n; /* of a send that is begun */
    ssize_t sent;
    bool sending, sent_known;
    int fd;
};

struct eager {
    struct eager_base *owner;
    const struct ior_engine_ops *ops;
    void *base;
    const struct ior_os *os;
    struct place **places;
    size_t places_n;
};

static size_t index_of(int fd)
{
    return (size_t)fd & 0x3fffffff;
}

static struct place *place_of(struct eager *e, int fd)
{
    size_t at = index_of(fd);
    return at < e->places_n ? e->places[at] : NULL;
}

static void drop_held(struct eager *e, struct place *p)
{
    for (int i = 0; i < p->fds_n; i++)
        e->os->close(e->os->arg, p->fds[i]);
    p->fds_n = 0;
    p->at = p->len = 0;
    p->ended = p->told = false;
}

static struct place *make_place(struct eager *e, int fd, ior_id id)
{
    size_t at = index_of(fd);
    if (at >= e->places_n) {
        size_t n = (at + 64) * 2;
        e->places = realloc(e->places, n * sizeof(struct place *));
        if (!e->places)
            abort();
        memset(e->places + e->places_n, 0, (n - e->places_n) * sizeof(struct place *));
        e->places_n = n;
    }
    struct place *p = e->places[at];
    if (!p) {
        p = e->places[at] = calloc(1, sizeof(*p));
        if (!p)
            abort();
    }
    if (p->id != id) {
        drop_held(e, p);
        p->sending = p->sent_known = false;
    }
    p->id = id;
    p->fd = fd;
    return p;
}

static int eager_open(const struct ior_engine_config *config, void **ret_engine)
{
    struct eager_base *base = config->arg;
    struct eager *e = calloc(1, sizeof(*e));
    if (!e)
        return -ENOMEM;
    e->owner = base;
    e->ops = base->ops;
    e->os = config->os;
    struct ior_engine_config inner = *config;
    inner.arg = base->arg;
    int err = e->ops->open(&inner, &e->base);
    if (err < 0)
        free(e);
    else
        *ret_engine = base->engine = e;
    return err;
}

static void eager_close(void *engine, bool in_child)
{
    struct eager *e = engine;
    for (size_t i = 0; i < e->places_n; i++) {
        struct place *p = e->places[i];
        if (!p)
            continue;
        if (!in_child)
            drop_held(e, p);
        free(p->bytes);
        free(p->iov);
        free(p);
    }
    free(e->places);
    e->owner->engine = NULL;
    e->ops->close(e->base, in_child);
    free(e);
}

/* ---- the set ---- */

static bool works(const struct place *p)
{
    return (p->interest & (IOR_RECEIVES | IOR_ACCEPTS)) != 0;
}

static unsigned base_interest(const struct place *p)
{
    unsigned io = p->interest & (IOR_READ | IOR_WRITE);
    if (works(p) && (p->ended || p->fds_n == HELD_FDS || p->len - p->at == HELD_MOST))
        io &= ~(unsigned)IOR_READ;
    return io;
}

static int eager_watch(void *engine, int fd, ior_id id, unsigned interest)
{
    struct eager *e = engine;
    int err = e->ops->watch(e->base, fd, id, interest & (IOR_READ | IOR_WRITE));
    if (err < 0)
        return err;
    struct place *p = make_place(e, fd, id);
    p->interest = interest;
    p->base_interest = interest & (IOR_READ | IOR_WRITE);
    p->watched = true;
    return 0;
}

static int eager_rewatch(void *engine, int fd, ior_id id, unsigned interest)
{
    struct eager *e = engine;
    struct place *p = place_of(e, fd);
    if (!p || !p->watched)
        return -ENOENT;
    unsigned was = p->interest;
    p->interest = interest;
    unsigned io = base_interest(p);
    int err = io == p->base_interest ? 0 : e->ops->rewatch(e->base, fd, id, io);
    if (err < 0)
        p->interest = was;
    else
        p->base_interest = io;
    return err;
}

static int eager_unwatch(void *engine, int fd, ior_id id)
{
    struct eager *e = engine;
    struct place *p = place_of(e, fd);
    if (p && p->id == id)
        p->watched = false;
    return e->ops->unwatch(e->base, fd, id);
}

static int eager_rebuild(void *engine)
{
    struct eager *e = engine;
    int err = e->ops->rebuild(e->base);
    for (size_t i = 0; err == 0 && i < e->places_n; i++) {
        if (e->places[i])
            e->places[i]->watched = false;
    }
    return err;
}

/* ---- the work ---- */

static void do_send(struct eager *e, struct place *p)
{
    if (!p->sending)
        return;
    p->sending = false;
    p->sent = e->os->send(e->os->arg, p->fd, p->iov, p->iov_n);
    p->sent_known = true;
}

static void do_receive(struct eager *e, struct place *p)
{
    if (p->ended)
        return;
    if (!p->bytes)
        p->bytes = malloc(HELD_MOST);
    if (!p->bytes)
        abort();
    memmove(p->bytes, p->bytes + p->at, p->len - p->at);
    p->len -= p->at;
    p->at = 0;
    while (p->len < HELD_MOST) {
        ssize_t n = e->os->recv(e->os->arg, p->fd, p->bytes + p->len, HELD_MOST - p->len);
        if (n > 0) {
            p->len += (size_t)n;
            continue;
        }
        if (n != -EAGAIN && n != -EINTR) {
            p->ended = true;
            p->told = false;
            p->error = (int)n;
        }
        return;
    }
}

static void do_accept(struct eager *e, struct place *p)
{
    while (p->fds_n < HELD_FDS && !p->ended) {
        int fd = e->os->accept(e->os->arg, p->fd, NULL);
        if (fd >= 0) {
            p->fds[p->fds_n++] = fd;
        } else {
            if (fd != -EAGAIN && fd != -EINTR) {
                p->ended = true; /* until it was told */
                p->error = fd;
            }
            return;
        }
    }
}

static bool holds(const struct place *p)
{
    return p->len > p->at || p->fds_n > 0 || (p->ended && !p->told);
}

static bool tells(const struct place *p)
{
    return p && p->watched && works(p) && (p->interest & IOR_READ) && holds(p);
}

bool eager_any_ready(const struct eager_base *base)
{
    const struct eager *e = base->engine;
    for (size_t i = 0; e && i < e->places_n; i++) {
        if (tells(e->places[i]))
            return true;
    }
    return false;
}

static void set_base_interest(struct eager *e, struct place *p)
{
    unsigned io = base_interest(p);
    if (p->watched && io != p->base_interest && e->ops->rewatch(e->base, p->fd, p->id, io) == 0)
        p->base_interest = io;
}

static struct place *place_by_id(struct eager *e, ior_id id)
{
    for (size_t i = 0; i < e->places_n; i++) {
        if (e->places[i] && e->places[i]->watched && e->places[i]->id == id)
            return e->places[i];
    }
    return NULL;
}

/* A record of the other engine becomes ours, or nothing. */
static unsigned work(struct eager *e, struct place *p, unsigned what)
{
    if (!works(p) || (what & IOR_BAD))
        return what;
    if ((what & IOR_READ) && (p->interest & IOR_READ)) {
        if (p->interest & IOR_RECEIVES)
            do_receive(e, p);
        else
            do_accept(e, p);
    }
    unsigned io = what & IOR_WRITE;
    if (!(p->interest & IOR_READ) || (p->ended && p->told))
        io |= what & (IOR_HUP | IOR_ERR);
    set_base_interest(e, p);
    return tells(p) ? io | IOR_READ : io;
}

static int eager_wait(void *engine, struct ior_record *records, int max, uint64_t deadline_ns)
{
    struct eager *e = engine;
    bool at_once = false;
    for (size_t i = 0; i < e->places_n; i++) {
        struct place *p = e->places[i];
        if (!p)
            continue;
        size_t len = 0;
        for (int k = 0; p->sending && k < p->iov_n; k++)
            len += p->iov[k].iov_len;
        bool sends = p->sending;
        do_send(e, p);
        if ((sends && p->sent != (ssize_t)len) || tells(p))
            at_once = true;
        set_base_interest(e, p);
    }
    int n = e->ops->wait(e->base, records, max, at_once ? 0 : deadline_ns);
    if (n < 0)
        return n;
    int count = 0;
    for (int i = 0; i < n; i++) {
        struct place *p = place_by_id(e, records[i].id);
        unsigned what = p ? work(e, p, records[i].what) : records[i].what;
        if (what)
            records[count++] = (struct ior_record){.id = records[i].id, .what = what};
    }
    for (size_t i = 0; i < e->places_n && count < max; i++) {
        struct place *p = e->places[i];
        bool in = !tells(p);
        for (int k = 0; !in && k < count; k++)
            in = records[k].id == p->id;
        if (!in)
            records[count++] = (struct ior_record){.id = p->id, .what = IOR_READ};
    }
    return count;
}

static int eager_wake(void *engine)
{
    struct eager *e = engine;
    return e->ops->wake(e->base);
}

static int eager_fd(void *engine)
{
    struct eager *e = engine;
    return e->ops->fd(e->base);
}

static ssize_t eager_recv(void *engine, int fd, ior_id id, void *bytes, size_t len)
{
    struct place *p = place_of(engine, fd);
    if (!p || p->id != id)
        return -EAGAIN;
    size_t n = p->len - p->at < len ? p->len - p->at : len;
    if (n > 0) {
        memcpy(bytes, p->bytes + p->at, n);
        p->at += n;
        return (ssize_t)n;
    }
    if (!p->ended || p->told)
        return -EAGAIN;
    p->told = p->error == 0;
    p->ended = p->told; /* after an error it goes on, where it is asked to */
    return p->error;
}

static int eager_accept(void *engine, int fd, ior_id id)
{
    struct place *p = place_of(engine, fd);
    if (!p || p->id != id)
        return -EAGAIN;
    if (p->fds_n > 0) {
        int first = p->fds[0];
        memmove(p->fds, p->fds + 1, (size_t)--p->fds_n * sizeof(int));
        return first;
    }
    if (!p->ended)
        return -EAGAIN;
    p->ended = false;
    return p->error;
}

static int eager_send(void *engine, int fd, ior_id id, const struct iovec *iov, int n)
{
    struct place *p = make_place(engine, fd, id);
    if (p->sending || p->sent_known)
        abort();
    if (!p->iov)
        p->iov = malloc(IOV_MOST * sizeof(struct iovec));
    if (!p->iov)
        return -ENOMEM;
    memcpy(p->iov, iov, (size_t)n * sizeof(struct iovec));
    p->iov_n = n;
    p->sending = true;
    size_t len = 0;
    for (int i = 0; i < n; i++)
        len += iov[i].iov_len;
    if (len < LARGE_BYTES)
        return 0;
    do_send(engine, p);
    return 1;
}

static ssize_t eager_sent(void *engine, int fd, ior_id id)
{
    struct place *p = place_of(engine, fd);
    if (!p || p->id != id)
        abort();
    do_send(engine, p);
    if (!p->sent_known)
        abort();
    p->sent_known = false;
    /* The first cause. What passes again is none. */
    bool broken = p->ended && !p->told && p->error < 0 && p->error != -ENOBUFS && p->error != -ENOMEM;
    if (p->sent == -EPIPE && broken)
        p->sent = p->error;
    return p->sent;
}

static int eager_flush(void *engine)
{
    struct eager *e = engine;
    for (size_t i = 0; i < e->places_n; i++) {
        if (e->places[i])
            do_send(e, e->places[i]);
    }
    return 0;
}

const struct ior_engine_ops eager_ops = {
    .struct_size = sizeof(struct ior_engine_ops),
    .features = IOR_ENGINE_HAS_FD | IOR_ENGINE_DOES_IO,
    .name = "eager",
    .open = eager_open,
    .close = eager_close,
    .watch = eager_watch,
    .rewatch = eager_rewatch,
    .unwatch = eager_unwatch,
    .wait = eager_wait,
    .wake = eager_wake,
    .rebuild = eager_rebuild,
    .fd = eager_fd,
    .recv = eager_recv,
    .accept = eager_accept,
    .send = eager_send,
    .sent = eager_sent,
    .flush = eager_flush,
};
