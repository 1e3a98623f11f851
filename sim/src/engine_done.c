/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine that does the I/O: it receives, accepts and sends, as a ring does, and keeps what came until the runtime
 * takes it. The set, the list of what is ready and the waits are those of engine.c; this file is the work.
 *
 * When the kernel works is a choice: as soon as something is there, or in the next wait; a send at once, or when the
 * loop waits next. Large ones are done at once, and the engine says so. The calls are counted, fail and are traced as the
 * system calls that they are. What a ring does again by itself (EAGAIN, EINTR) is done again in the next wait.
 */
#include "world.h"

#include <string.h>

#define HELD_BYTES 16384u
#define HELD_FDS 64u
#define LARGE_BYTES 8192u /* of a send that is written, and known, at once: as the engine on io_uring has it */

static struct stash *stash_of(const struct node *node, int fd)
{
    uint32_t at = (uint32_t)(fd - IOR_SIM_FD_FIRST);
    return fd >= IOR_SIM_FD_FIRST && at < node->stashes_room ? node->stashes[at] : NULL;
}

static void drop(struct node *node, struct stash *stash)
{
    for (; stash->fds_first < stash->fds_n; stash->fds_first++)
        ior__fd_close(node->sim, stash->fds[stash->fds_first], FD_CLOSED);
    stash->fds_n = stash->fds_first = 0;
    ior__ring_free(&stash->bytes);
    stash->ended = stash->told = stash->sending = stash->sent_known = false;
}

void ior__done_watched(struct node *node, int fd, ior_id id)
{
    uint32_t at = (uint32_t)(fd - IOR_SIM_FD_FIRST);
    while (at >= node->stashes_room)
        node->stashes = ior__mem_room(node->stashes, node->stashes_room, &node->stashes_room, sizeof(struct stash *));
    struct stash *stash = node->stashes[at];
    if (!stash)
        stash = node->stashes[at] = ior__mem_new(sizeof(*stash));
    if (stash->id != id)
        drop(node, stash);
    stash->id = id;
    stash->fd = fd;
}

void ior__done_free(struct node *node)
{
    for (uint32_t i = 0; i < node->stashes_room; i++) {
        struct stash *stash = node->stashes[i];
        if (!stash)
            continue;
        drop(node, stash);
        ior__mem_free(stash->fds);
        ior__mem_free(stash->iov);
        ior__mem_free(stash);
    }
    ior__mem_free(node->stashes);
    ior__mem_free(node->sending);
    node->stashes = NULL;
    node->sending = NULL;
    node->stashes_room = node->sending_n = node->sending_room = 0;
}

/* ---- what is told ---- */

bool ior__done_is_armed(const struct watch *watch)
{
    return (watch->interest & IOR_READ) && (watch->interest & (IOR_RECEIVES | IOR_ACCEPTS));
}

static bool holds(const struct stash *stash)
{
    return stash->bytes.len > 0 || stash->fds_first < stash->fds_n || (stash->ended && !stash->told);
}

static bool is_full(const struct stash *stash)
{
    return stash->bytes.len >= HELD_BYTES || stash->fds_n - stash->fds_first >= HELD_FDS;
}

/* HUP and ERR are told by the receive that finds them, and only after it. */
unsigned ior__done_what(const struct watch *watch, unsigned ready)
{
    const struct stash *stash = stash_of(watch->node, watch->fd);
    unsigned what = ready & watch->interest & IOR_WRITE;
    if (holds(stash))
        what |= IOR_READ;
    if (stash->ended && stash->told)
        what |= ready & (IOR_HUP | IOR_ERR);
    else if (!stash->ended && !is_full(stash) && (ready & (IOR_READ | IOR_HUP | IOR_ERR)))
        what |= WORK;
    return what;
}

/* ---- receiving and accepting ---- */

static bool is_over(struct stash *stash, int err)
{
    if (err == -EAGAIN || err == -EINTR)
        return false;
    stash->ended = true;
    stash->told = false;
    stash->error = err;
    return true;
}

/* One receive. Answers whether there may be more. */
static bool receive(struct watch *watch, struct stash *stash)
{
    struct call call;
    struct node *node = watch->node;
    struct ior_sim *sim = node->sim;
    struct end *end = watch->file->end;
    unsigned char bytes[HELD_BYTES];
    size_t most = HELD_BYTES - stash->bytes.len;

    ior__call_begin(&call, node, IOR_SIM_RECV, watch->fd);
    call.a = most;
    most = most < end->arrived ? most : end->arrived;
    int err = ior__call_fault(&call, most);
    if (err == 0)
        err = ior__end_may_take(sim, end);
    if (err <= 0) {
        is_over(stash, (int)ior__call_end(&call, err));
        return false;
    }
    if (call.short_of && most > 1)
        most = 1 + (size_t)ior_sim_choose(sim, most - 1);
    size_t n = ior__end_take(sim, end, bytes, most, NULL);
    ior__ring_put(&stash->bytes, bytes, n);
    call.b = ior_sim_sum(0, bytes, n);
    ior__call_end(&call, (int64_t)n);
    return end->arrived > 0 || end->fin_seen || end->error || end->state == END_DEAD || end->other_gone;
}

static bool accept_one(struct watch *watch, struct stash *stash)
{
    const struct ior_os *os = &watch->node->os;
    int fd = os->accept(os->arg, watch->fd, NULL);
    if (fd < 0) {
        is_over(stash, fd);
        return false;
    }
    stash->fds = ior__mem_room(stash->fds, stash->fds_n, &stash->fds_room, sizeof(int));
    stash->fds[stash->fds_n++] = fd;
    return watch->file->bound->queue_len > 0;
}

/*
 * The number may be another file's by now, where somebody closed the fd. What a receive, or an accept, answers there is
 * its end.
 */
static int wrong_file(const struct watch *watch)
{
    bool receives = (watch->interest & IOR_RECEIVES) != 0;
    switch (watch->file->kind) {
    case FILE_STREAM:
        return receives ? 0 : -EINVAL;
    case FILE_LISTENER:
        return receives ? -ENOTCONN : 0;
    default:
        return -ENOTSOCK;
    }
}

void ior__done_work(struct watch *watch)
{
    struct stash *stash = stash_of(watch->node, watch->fd);
    struct ior_sim *sim = watch->node->sim;
    int wrong = wrong_file(watch);
    bool more = wrong == 0;

    if (wrong < 0)
        is_over(stash, wrong);
    sim->in_work = true;
    while (more && !stash->ended && !is_full(stash)) {
        if (watch->file->kind == FILE_STREAM)
            more = receive(watch, stash);
        else
            more = accept_one(watch, stash);
    }
    sim->in_work = false;
}

static struct stash *stash_with(const struct node *node, int fd, ior_id id)
{
    struct stash *stash = stash_of(node, fd);
    return stash && stash->id == id ? stash : NULL;
}

/* The end stays; an error is told once. */
static int take_end(struct stash *stash)
{
    if (!stash->ended || stash->told)
        return -EAGAIN;
    stash->told = stash->ended = stash->error == 0;
    return stash->error;
}

static ssize_t engine_recv(void *engine, int fd, ior_id id, void *bytes, size_t len)
{
    struct stash *stash = stash_with(engine, fd, id);
    size_t done = 0;
    if (!stash)
        return -EAGAIN;
    if (stash->bytes.len == 0)
        return take_end(stash);
    while (done < len && stash->bytes.len > 0) {
        const unsigned char *piece;
        size_t n = ior__ring_look(&stash->bytes, &piece);
        n = n < len - done ? n : len - done;
        memcpy((unsigned char *)bytes + done, piece, n);
        ior__ring_drop(&stash->bytes, n);
        done += n;
    }
    return (ssize_t)done;
}

static int engine_accept(void *engine, int fd, ior_id id)
{
    struct stash *stash = stash_with(engine, fd, id);
    if (!stash)
        return -EAGAIN;
    if (stash->fds_first < stash->fds_n) {
        int conn = stash->fds[stash->fds_first++];
        if (stash->fds_first == stash->fds_n)
            stash->fds_first = stash->fds_n = 0;
        return conn;
    }
    return take_end(stash);
}

/* ---- sending ---- */

static void do_send(struct node *node, struct stash *stash)
{
    if (!stash->sending)
        return;
    stash->sending = false;
    stash->sent_known = true;
    stash->sent = node->os.send(node, stash->fd, stash->iov, stash->iov_n);
    if (stash->sent == -EINTR)
        stash->sent = -EAGAIN;
    if (stash->sent < 0 || (uint64_t)stash->sent < stash->send_len)
        node->short_send = true;
}

void ior__done_flush(struct node *node)
{
    for (uint32_t i = 0; i < node->sending_n; i++)
        do_send(node, node->stashes[node->sending[i]]);
    node->sending_n = 0;
}

static int engine_send(void *engine, int fd, ior_id id, const struct iovec *iov, int n)
{
    struct node *node = engine;
    if (fd < IOR_SIM_FD_FIRST || n <= 0)
        return -EINVAL;
    if (!stash_with(node, fd, id))
        ior__done_watched(node, fd, id);
    struct stash *stash = stash_of(node, fd);
    if (stash->sending || stash->sent_known)
        ior__violate(node->sim, IOR_SIM_BAD_ARGUMENT, "a send on fd %d beside another", fd - IOR_SIM_FD_FIRST);
    stash->iov = ior__mem_grow(stash->iov, (size_t)n * sizeof(*iov));
    memcpy(stash->iov, iov, (size_t)n * sizeof(*iov));
    stash->iov_n = n;
    stash->send_len = 0;
    for (int i = 0; i < n; i++)
        stash->send_len += iov[i].iov_len;
    stash->sending = true;
    stash->sent_known = false;
    bool at_once = ior_sim_choose(node->sim, 2) == 1;
    if (stash->send_len >= LARGE_BYTES) {
        bool short_before = node->short_send;
        do_send(node, stash);
        node->short_send = short_before; /* no wait is to end for it: it is told here */
        return 1;
    }
    if (at_once) {
        do_send(node, stash);
        return 0;
    }
    node->sending = ior__mem_room(node->sending, node->sending_n, &node->sending_room, sizeof(uint32_t));
    node->sending[node->sending_n++] = (uint32_t)(fd - IOR_SIM_FD_FIRST);
    return 0;
}

static ssize_t engine_sent(void *engine, int fd, ior_id id)
{
    struct node *node = engine;
    struct stash *stash = stash_with(node, fd, id);
    if (!stash || (!stash->sending && !stash->sent_known)) {
        ior__violate(node->sim, IOR_SIM_BAD_ARGUMENT, "sent of fd %d, where no send was begun", fd - IOR_SIM_FD_FIRST);
        return -EINVAL;
    }
    do_send(node, stash);
    stash->sent_known = false;
    /* The first cause, where it was received and not told yet. What passes again is none. */
    bool broken =
        stash->ended && !stash->told && stash->error != 0 && stash->error != -ENOBUFS && stash->error != -ENOMEM;
    return stash->sent == -EPIPE && broken ? stash->error : stash->sent;
}

static int engine_flush(void *engine)
{
    ior__done_flush(engine);
    return 0;
}

const struct ior_engine_ops ior__sim_engine_done = {
    .struct_size = sizeof(struct ior_engine_ops),
    .features = IOR_ENGINE_DOES_IO,
    .name = "sim-done",
    .open = ior__engine_open,
    .close = ior__engine_close,
    .watch = ior__engine_watch,
    .rewatch = ior__engine_rewatch,
    .unwatch = ior__engine_unwatch,
    .wait = ior__engine_wait,
    .wake = ior__engine_wake,
    .rebuild = ior__engine_rebuild,
    .recv = engine_recv,
    .accept = engine_accept,
    .send = engine_send,
    .sent = engine_sent,
    .flush = engine_flush,
};
