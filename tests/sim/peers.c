/* SPDX-License-Identifier: Apache-2.0 */
/* The other ends: peers without a library that dial, listen, say, hear, finish, and (in rough stories) go away. */
#include "story.h"

static struct peer *peer_new(struct story *s, struct ior_sim_peer *p, int host)
{
    struct peer *peer = &s->peers[s->peers_n++];
    *peer = (struct peer){.p = p, .live = true, .host = host};
    return peer;
}

static bool full(const struct story *s)
{
    return s->peers_n == PEERS || s->flows_n >= FLOWS - 1;
}

static void peer_gone(struct story *s, struct peer *peer)
{
    if (peer->out)
        peer->out->loose = true;
    inlet_loose(&peer->in);
    s->harsh++;
}

int peer_fd(struct story *s, int host, int kind, struct peer **ret)
{
    if (full(s))
        return -ENOSPC;
    struct ior_sim_peer *p = NULL;
    int fd = ior_sim_fd(s->sim, host, kind, &p);
    if (fd < 0)
        return fd;
    struct peer *peer = peer_new(s, p, host);
    peer->out = flow_new(s);
    peer->finished = (kind & IOR_FD_NO_READ) != 0;
    *ret = peer;
    return fd;
}

/* Where somebody listens: a listener of ours on any host, or of a peer; NULL: nowhere. */
const char *peer_address(struct story *s, int host)
{
    for (unsigned tries = 0; tries < 6; tries++) {
        uint64_t n = pick(s, s->conns_n + s->peers_n + 1);
        const char *addr = "";
        int there = 0;
        if (n < s->conns_n && s->conns[n].kind == KIND_LISTENER && s->conns[n].live) {
            addr = s->conns[n].addr;
            there = s->conns[n].host;
        } else if (n >= s->conns_n && n < s->conns_n + s->peers_n && s->peers[n - s->conns_n].listening) {
            addr = s->peers[n - s->conns_n].addr;
            there = s->peers[n - s->conns_n].host;
        }
        if (addr[0] != 0 && (addr[0] != 'u' || there == host))
            return addr;
    }
    return NULL;
}

static void dial(struct story *s)
{
    int host = s->hosts[pick(s, (uint64_t)s->plan.hosts)];
    const char *addr = full(s) ? NULL : peer_address(s, host);
    if (!addr)
        return;
    struct ior_sim_peer *p = ior_sim_dial(s->sim, host, addr);
    NOTE(s, "peer %u dials %s", s->peers_n, addr);
    if (!p)
        return;
    struct peer *peer = peer_new(s, p, host);
    peer->out = flow_new(s);
}

static void serve(struct story *s)
{
    if (full(s))
        return;
    int host = s->hosts[pick(s, (uint64_t)s->plan.hosts)];
    char addr[40];
    if (s->plan.unix_only || once_in(s, 3))
        snprintf(addr, sizeof(addr), "unix:/peer%u", s->peers_n);
    else
        snprintf(addr, sizeof(addr), "10.0.0.%d:%u", host, 9000 + s->peers_n);
    struct ior_sim_peer *p = ior_sim_serve(s->sim, host, addr);
    if (!p)
        return;
    struct peer *peer = peer_new(s, p, host);
    peer->listening = true;
    memcpy(peer->addr, addr, sizeof(addr));
    NOTE(s, "peer %u listens at %s", s->peers_n - 1, addr);
}

static void pick_up(struct story *s, struct peer *listener)
{
    if (full(s))
        return;
    struct ior_sim_peer *p = ior_sim_pick_up(listener->p);
    if (!p)
        return;
    struct peer *peer = peer_new(s, p, listener->host);
    peer->out = flow_new(s);
    NOTE(s, "peer %u is picked up", s->peers_n - 1);
}

static void say(struct story *s, struct peer *peer)
{
    unsigned char bytes[4096];
    static const unsigned most[] = {32, 200, 1500, 4096};
    size_t len = (size_t)(1 + pick(s, most[pick(s, 4)]));
    if (peer->finished || peer->hung || len > sizeof(bytes))
        return;
    if (peer->out->total == 0 && len < HEAD)
        len = HEAD;
    flow_fill(peer->out, peer->out->total, bytes, len);
    if (ior_sim_say(peer->p, bytes, len) == 0)
        peer->out->total += len;
    else
        peer->out->loose = true;
}

static bool hear(struct story *s, struct peer *peer, size_t most)
{
    unsigned char bytes[4096];
    bool any = false;
    while (most > 0 && peer->live && !peer->listening && !peer->hung) {
        ssize_t n = ior_sim_hear(peer->p, bytes, most < sizeof(bytes) ? most : sizeof(bytes));
        if (n <= 0) {
            struct flow *flow = peer->in.flow;
            if (n == 0 && flow && !flow->loose && !s->stolen)
                CHECK(s, 4, peer->heard == flow->total, "flow %u ends after %llu bytes of %llu", flow->number,
                      (unsigned long long)peer->heard, (unsigned long long)flow->total);
            if (n < 0 && n != -EAGAIN && n != -ENOTCONN && !peer->silent) {
                peer->silent = true; /* its connection failed */
                if (peer->out)
                    peer->out->loose = true;
                inlet_loose(&peer->in);
            }
            break;
        }
        inlet_check(s, &peer->in, peer->heard, bytes, (size_t)n);
        peer->heard += (uint64_t)n;
        if (peer->in.flow)
            peer->in.flow->heard = peer->heard;
        most -= (size_t)n < most ? (size_t)n : most;
        any = true;
    }
    return any;
}

/* Rude things, of rough stories only. */
static void leave_rudely(struct story *s, struct peer *peer)
{
    if (s->plan.calm || peer->hung || peer->listening)
        return;
    peer_gone(s, peer);
    peer->hung = true;
    switch (pick(s, 5)) {
    case 0:
    case 1:
    case 2:
        NOTE(s, "peer %d hangs up", (int)(peer - s->peers));
        ior_sim_hang_up(peer->p);
        break;
    case 3:
        NOTE(s, "peer %d resets", (int)(peer - s->peers));
        ior_sim_reset(peer->p);
        break;
    default:
        NOTE(s, "peer %d vanishes", (int)(peer - s->peers));
        ior_sim_vanish(peer->p);
        break;
    }
}

void peers_act(struct story *s)
{
    uint64_t what = pick(s, 20);
    if (what < 5) {
        dial(s);
        return;
    }
    if (what == 5 && once_in(s, 2)) {
        serve(s);
        return;
    }
    if (s->peers_n == 0)
        return;
    struct peer *peer = &s->peers[pick(s, s->peers_n)];
    if (!peer->live)
        return;
    if (peer->listening) {
        pick_up(s, peer);
    } else if (what < 13) {
        say(s, peer);
    } else if (what < 17) {
        hear(s, peer, (size_t)(1 + pick(s, 3000)));
    } else if (what == 17 && !peer->hung) {
        NOTE(s, "peer %d finishes", (int)(peer - s->peers));
        ior_sim_finish(peer->p);
        peer->finished = true;
    } else if (what == 18 && once_in(s, 3)) {
        leave_rudely(s, peer);
    }
}

bool peers_hear_all(struct story *s)
{
    bool any = false;
    for (unsigned i = 0; i < s->peers_n; i++) {
        struct peer *peer = &s->peers[i];
        if (!peer->live)
            continue;
        if (peer->listening) {
            unsigned before = s->peers_n;
            pick_up(s, peer);
            any |= s->peers_n > before;
        }
        any |= hear(s, peer, SIZE_MAX);
    }
    return any;
}

/* A peer whose connection failed loses what was under way. */
void peers_check(struct story *s)
{
    for (unsigned i = 0; i < s->peers_n; i++) {
        struct peer *peer = &s->peers[i];
        struct ior_sim_peer_info info;
        if (!peer->live || peer->listening || peer->hung)
            continue;
        ior_sim_peer_info(peer->p, &info);
        const struct reg *reg = peer->conn ? peer->conn->reg : NULL;
        if (reg && !reg->told_end && reg->finish && reg->told_open && !peer->conn->pipe_out && s->harsh == 0 &&
            !s->plan.faults && !s->plan.memory && !reg->closing && !reg->service->rt->stopping)
            CHECK(s, 4, info.eof, "flow %u was finished, and its peer never hears of it", peer->conn->out->number);
        if (peer->conn && peer->conn->aborted && peer->conn->tcp && peer->conn->kind == KIND_STREAM && !s->stolen &&
            !s->was_cut && !s->plan.faults)
            CHECK(s, 4, info.error != 0, "flow %u was aborted, and its peer was not reset", peer->conn->out->number);
        if (info.error != 0) {
            if (peer->out)
                peer->out->loose = true;
            inlet_loose(&peer->in);
        }
    }
}

void peers_leave(struct story *s)
{
    for (unsigned i = 0; i < s->peers_n; i++) {
        if (s->peers[i].live)
            ior_sim_peer_free(s->peers[i].p);
        s->peers[i].live = false;
    }
}
