/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Plain peers: ends of connections that the test, and nobody else, speaks for. What a peer says waits in it as long as
 * the way is full. Things that happen to a peer are put on a list, which the scheduler serves one by one, so that
 * nothing here runs inside a system call of a runtime.
 */
#include "world.h"

#include <string.h>

#define DRAINS_PER_SEC 100u

static struct ior_sim_peer *peer_new(struct ior_sim *sim, int host)
{
    struct ior_sim_peer *peer = ior__mem_new(sizeof(*peer));
    peer->sim = sim;
    peer->host = (uint32_t)host;
    peer->next = sim->peers;
    if (sim->peers)
        sim->peers->prev = peer;
    sim->peers = peer;
    return peer;
}

static void peer_release(struct ior_sim_peer *peer)
{
    struct ior_sim *sim = peer->sim;
    if (peer->prev)
        peer->prev->next = peer->next;
    else
        sim->peers = peer->next;
    if (peer->next)
        peer->next->prev = peer->prev;
    ior__ring_free(&peer->unsaid);
    ior__mem_free(peer);
}

static void own_end(struct ior_sim_peer *peer, struct end *end)
{
    end->owner = peer;
    end->is_peers = true;
    peer->end = end;
    peer->local = end->local;
    peer->remote = end->remote;
}

static bool is_dead(const struct ior_sim_peer *peer)
{
    return peer->end && peer->end->state == END_DEAD;
}

/* ---- coming and going ---- */

struct ior_sim_peer *ior_sim_dial(struct ior_sim *sim, int host, const char *addr)
{
    struct ior_addr at;
    struct where to;
    if (!sim || !ior__host_at(sim, host) || !addr || ior_addr_parse(&at, addr) < 0 ||
        !ior__where_of(sim, host, &at, &to))
        return NULL;
    struct ior_sim_peer *peer = peer_new(sim, host);
    struct end *end = ior__end_new(sim, to.family == FAMILY_UNIX ? END_UNIX : END_TCP, (uint32_t)host);
    end->local.family = to.family;
    end->local.host = (uint32_t)host;
    own_end(peer, end);
    int err = ior__end_connect(sim, end, &to, false);
    if (err < 0 && err != -EINPROGRESS) {
        peer->error = -err;
        ior__end_forget(sim, end);
        peer->end = NULL;
    } else {
        peer->local = end->local;
        peer->remote = end->remote;
    }
    if (err != -EINPROGRESS)
        ior__peer_changed(sim, peer, err < 0 ? IOR_ERR : IOR_WRITE);
    return peer;
}

struct ior_sim_peer *ior_sim_serve(struct ior_sim *sim, int host, const char *addr)
{
    struct ior_addr at;
    struct where where;
    if (!sim || !ior__host_at(sim, host) || !addr || ior_addr_parse(&at, addr) < 0 ||
        !ior__where_of(sim, host, &at, &where))
        return NULL;
    struct ior_sim_peer *peer = peer_new(sim, host);
    const struct listener like = {
        .owner = peer, .is_peers = true, .reuse_addr = true, .listening = true, .backlog = 4096};
    if (ior__bound_new(sim, (uint32_t)host, &where, &like, &peer->listener) < 0) {
        peer_release(peer);
        return NULL;
    }
    peer->local = where;
    return peer;
}

struct ior_sim_peer *ior_sim_pick_up(struct ior_sim_peer *listener)
{
    struct end *end = listener->listener ? ior__listener_next(listener->sim, listener->listener) : NULL;
    if (!end)
        return NULL;
    struct ior_sim_peer *peer = peer_new(listener->sim, (int)listener->host);
    own_end(peer, end);
    if (end->state == END_DEAD)
        ior__peer_changed(listener->sim, peer, IOR_ERR);
    return peer;
}

static void close_end(struct ior_sim_peer *peer, bool reset)
{
    struct end *end = peer->end;
    if (!end)
        return;
    if (end->state == END_DEAD && peer->error == 0)
        peer->error = end->ended;
    peer->end = NULL;
    peer->finished = true;
    ior__ring_free(&peer->unsaid);
    ior__end_close(peer->sim, end, reset);
}

static void close_listener(struct ior_sim_peer *peer)
{
    if (peer->listener)
        ior__bound_free(peer->sim, peer->listener);
    peer->listener = NULL;
}

void ior_sim_reset(struct ior_sim_peer *peer)
{
    close_listener(peer);
    close_end(peer, true);
}

void ior_sim_vanish(struct ior_sim_peer *peer)
{
    if (peer->listener)
        peer->listener->vanished = true;
    if (peer->end)
        ior__end_vanish(peer->sim, peer->end);
}

/* ---- saying ---- */

/* Sends what the way takes, and then what was to be done once all is said. */
static void flush(struct ior_sim_peer *peer)
{
    struct ior_sim *sim = peer->sim;
    struct end *end = peer->end;
    if (!end || end->vanished || end->state == END_CONNECTING)
        return;
    if (end->state == END_DEAD || end->other_gone)
        ior__ring_free(&peer->unsaid);
    size_t room = peer->unsaid.len > 0 ? ior__end_room(sim, end) : 0;
    size_t sent = 0;
    while (sent < room && peer->unsaid.len > 0) {
        const unsigned char *piece;
        size_t n = ior__ring_look(&peer->unsaid, &piece);
        n = n < room - sent ? n : room - sent;
        ior__end_put(sim, end, piece, n);
        ior__ring_drop(&peer->unsaid, n);
        sent += n;
    }
    peer->said += sent;
    if (sent > 0)
        ior__end_sent(sim, end, sent);
    if (peer->unsaid.len > 0)
        return;
    if (peer->hanging_up)
        close_end(peer, false);
    else if (peer->finishing && end->state == END_OPEN)
        ior__end_fin(sim, end);
}

int ior_sim_say(struct ior_sim_peer *peer, const void *bytes, size_t len)
{
    if (!peer->end || peer->finishing || peer->hanging_up || is_dead(peer) || peer->end->other_gone ||
        peer->end->kind == END_PIPE_READER)
        return -EPIPE;
    ior__ring_put(&peer->unsaid, bytes, len);
    flush(peer);
    return 0;
}

void ior_sim_finish(struct ior_sim_peer *peer)
{
    peer->finishing = peer->finished = true;
    flush(peer);
}

void ior_sim_hang_up(struct ior_sim_peer *peer)
{
    close_listener(peer);
    peer->hanging_up = peer->finishing = peer->finished = true;
    bool waits = peer->end && peer->end->state == END_CONNECTING && peer->unsaid.len > 0;
    if (peer->end && !waits && (peer->end->vanished || is_dead(peer) || peer->end->state == END_CONNECTING))
        close_end(peer, false);
    flush(peer);
}

/* ---- hearing ---- */

ssize_t ior_sim_hear(struct ior_sim_peer *peer, void *bytes, size_t len)
{
    struct end *end = peer->end;
    if (!end)
        return peer->error ? -peer->error : -EBADF;
    if (end->vanished)
        return -EAGAIN;
    if (end->arrived == 0 && end->ended)
        return -end->ended;
    if (len == 0)
        return 0;
    int may = ior__end_may_take(peer->sim, end);
    if (may == 0)
        peer->eof = true;
    if (may <= 0)
        return may;
    size_t n = ior__end_take(peer->sim, end, bytes, len, &peer->sum);
    peer->heard += n;
    return (ssize_t)n;
}

static void discard(struct ior_sim_peer *peer, size_t most)
{
    struct end *end = peer->end;
    if (end->arrived > 0)
        peer->heard += ior__end_take(peer->sim, end, NULL, most, &peer->sum);
    if (end->arrived == 0 && end->state == END_OPEN && end->fin_seen)
        peer->eof = true;
}

/* The next portion of what is thrown away slowly. */
static void drain_later(struct ior_sim_peer *peer)
{
    uint64_t portion = peer->drain_rate / DRAINS_PER_SEC;
    if (peer->draining || !peer->end || peer->end->arrived == 0)
        return;
    portion = portion == 0 ? 1 : portion;
    portion = portion < peer->end->arrived ? portion : peer->end->arrived;
    peer->draining = true;
    uint64_t after_ns = portion * IOR_NS_PER_SEC / peer->drain_rate;
    ior__calendar_add(peer->sim, ior_time_add(peer->sim->now_ns, after_ns),
                      (struct due){.what = DUE_DRAIN, .a = peer->end->self, .n = (uint32_t)portion});
}

static void drain(struct ior_sim_peer *peer)
{
    if (!peer->end || peer->end->vanished || peer->drain_rate == 0)
        return;
    if (peer->drain_rate == UINT64_MAX)
        discard(peer, SIZE_MAX);
    else if (peer->end->arrived > 0)
        drain_later(peer);
    else
        discard(peer, 0);
}

void ior__peer_drain_due(struct ior_sim *sim, const struct due *due)
{
    struct end *end = ior__end_at(sim, due->a);
    if (!end || !end->owner || !end->is_peers)
        return;
    struct ior_sim_peer *peer = end->owner;
    peer->draining = false;
    if (peer->drain_rate == 0 || end->vanished)
        return;
    discard(peer, due->n);
    drain(peer);
}

void ior_sim_drain(struct ior_sim_peer *peer, uint64_t bytes_per_sec)
{
    peer->drain_rate = bytes_per_sec;
    drain(peer);
}

/* ---- what happens to peers ---- */

void ior__peer_changed(struct ior_sim *sim, struct ior_sim_peer *peer, unsigned what)
{
    peer->pending |= what;
    if (peer->pending_listed)
        return;
    peer->pending_listed = true;
    peer->next_pending = NULL;
    if (sim->last_pending)
        sim->last_pending->next_pending = peer;
    else
        sim->first_pending = peer;
    sim->last_pending = peer;
}

void ior__peers_serve(struct ior_sim *sim)
{
    struct ior_sim_peer *peer = sim->first_pending;
    sim->first_pending = peer->next_pending;
    if (!sim->first_pending)
        sim->last_pending = NULL;
    peer->pending_listed = false;
    unsigned what = peer->pending;
    peer->pending = 0;
    drain(peer);
    flush(peer);
    if (is_dead(peer) && peer->hanging_up)
        close_end(peer, false);
    if (peer->freed && !peer->end)
        peer_release(peer);
    else if (peer->fn)
        peer->fn(peer->arg, peer, what);
}

void ior_sim_peer_on(struct ior_sim_peer *peer, void (*fn)(void *arg, struct ior_sim_peer *peer, unsigned what),
                     void *arg)
{
    peer->fn = fn;
    peer->arg = arg;
    bool waits = (peer->end && peer->end->owner && (peer->end->arrived > 0 || is_dead(peer))) ||
                 (peer->listener && peer->listener->queue_len > 0);
    if (fn && waits)
        ior__peer_changed(peer->sim, peer, IOR_READ);
}

void ior_sim_peer_free(struct ior_sim_peer *peer)
{
    if (!peer || peer->freed)
        return;
    peer->fn = NULL;
    ior_sim_hang_up(peer);
    peer->freed = true;
    if (!peer->end && !peer->pending_listed)
        peer_release(peer);
}

void ior__peers_free(struct ior_sim *sim)
{
    while (sim->peers) {
        close_listener(sim->peers);
        close_end(sim->peers, true);
        peer_release(sim->peers);
    }
}

/* ---- looking ---- */

static enum ior_sim_peer_state state_of(const struct ior_sim_peer *peer)
{
    if (peer->listener)
        return IOR_SIM_PEER_LISTENING;
    if (!peer->end || is_dead(peer))
        return IOR_SIM_PEER_CLOSED;
    return peer->end->state == END_OPEN ? IOR_SIM_PEER_OPEN : IOR_SIM_PEER_CONNECTING;
}

void ior_sim_peer_info(const struct ior_sim_peer *peer, struct ior_sim_peer_info *ret)
{
    const struct end *end = peer->end;
    memset(ret, 0, sizeof(*ret));
    ret->state = state_of(peer);
    ret->error = peer->error ? peer->error : end ? end->ended : 0;
    ret->eof = peer->eof || (end && end->state == END_OPEN && end->fin_seen && end->arrived == 0);
    ret->finished = peer->finished;
    ret->said = peer->said;
    ret->unsaid = peer->unsaid.len;
    ret->heard = peer->heard;
    ret->ready = end && !end->vanished ? end->arrived : 0;
    ret->sum = peer->sum;
    ior__where_addr(peer->sim, &peer->local, &ret->local);
    ior__where_addr(peer->sim, &peer->remote, &ret->peer);
}

/* ---- fds with a peer ---- */

static struct file *file_with_end(struct ior_sim *sim, uint32_t host, enum end_kind kind)
{
    struct file *file = ior__file_new(sim, host, FILE_STREAM);
    file->end = ior__end_new(sim, kind, host);
    file->end->owner = file;
    return file;
}

static void name_pair(struct ior_sim *sim, struct end *mine, struct end *peers, uint32_t host)
{
    mine->link = ior__link_between(sim, host, host);
    mine->local =
        (struct where){.host = host, .port = (uint16_t)ior__port_for(sim, host), .family = FAMILY_V4, .loop = true};
    mine->remote = mine->local;
    mine->remote.port = (uint16_t)ior__port_for(sim, host);
    peers->local = mine->remote;
    peers->remote = mine->local;
}

int ior_sim_fd(struct ior_sim *sim, int host, int kind, struct ior_sim_peer **ret_peer)
{
    enum end_kind mine = END_TCP, peers = END_TCP;
    if (!sim || !ior__host_at(sim, host))
        return -EINVAL;
    if (kind == IOR_FD_OTHER) {
        if (ret_peer)
            *ret_peer = NULL;
        return ior__fd_new(sim, ior__file_new(sim, (uint32_t)host, FILE_OTHER), true);
    }
    if (kind == IOR_FD_UNIX)
        mine = peers = END_UNIX;
    else if (kind == (IOR_FD_PIPE | IOR_FD_NO_WRITE))
        mine = END_PIPE_READER, peers = END_PIPE_WRITER;
    else if (kind == (IOR_FD_PIPE | IOR_FD_NO_READ))
        mine = END_PIPE_WRITER, peers = END_PIPE_READER;
    else if (kind != IOR_FD_TCP)
        return -EINVAL;
    struct file *file = file_with_end(sim, (uint32_t)host, mine);
    struct end *other = ior__end_new(sim, peers, (uint32_t)host);
    file->end->local.family = other->local.family = FAMILY_UNIX;
    file->end->remote.family = other->remote.family = FAMILY_UNIX;
    if (mine == END_TCP)
        name_pair(sim, file->end, other, (uint32_t)host);
    ior__end_pair(sim, file->end, other);
    struct ior_sim_peer *peer = peer_new(sim, host);
    own_end(peer, other);
    if (ret_peer)
        *ret_peer = peer;
    return ior__fd_new(sim, file, true);
}
