/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ends of connections: TCP, Unix streams and pipes, as Linux has them.
 *
 * What one end sends is put into the other one's ring at once, which is what bounds it; it can be read once its segment
 * has arrived. Segments of an end arrive in order. Over Unix sockets, pipes, and links without latency they arrive at
 * once. A segment that meets nobody is answered by a reset; one that a cut link holds, or that a vanished end swallows,
 * starts a time-out. What was received before a reset can still be read; then comes its error, once.
 *
 * Not modelled: acknowledgements (room is there as soon as bytes are read), TIME_WAIT, urgent data.
 */
#include "world.h"

#include <string.h>

#define PAGE_ENDS 1024u

/* ---- where they live ---- */

struct end *ior__end_at(const struct ior_sim *sim, struct ref ref)
{
    if (ref.gen == 0)
        return NULL;
    struct end *end = &sim->pages[ref.index / PAGE_ENDS][ref.index % PAGE_ENDS];
    return end->self.gen == ref.gen && end->state != END_FREE ? end : NULL;
}

struct end *ior__end_new(struct ior_sim *sim, enum end_kind kind, uint32_t host)
{
    struct end *end;
    struct ref self;

    if (sim->ends_free) {
        self.index = sim->ends_free - 1;
        end = &sim->pages[self.index / PAGE_ENDS][self.index % PAGE_ENDS];
        sim->ends_free = end->next_free;
        self.gen = end->self.gen + 1;
    } else {
        self.index = sim->ends_made++;
        self.gen = 1;
        if (self.index / PAGE_ENDS == sim->pages_n) {
            sim->pages = ior__mem_room(sim->pages, sim->pages_n, &sim->pages_room, sizeof(struct end *));
            sim->pages[sim->pages_n++] = ior__mem_new(PAGE_ENDS * sizeof(struct end));
        }
        end = &sim->pages[self.index / PAGE_ENDS][self.index % PAGE_ENDS];
    }
    memset(end, 0, sizeof(*end));
    end->self = self;
    end->kind = (uint8_t)kind;
    end->state = END_NEW;
    end->host = host;
    end->limit = 65536;
    return end;
}

void ior__end_forget(struct ior_sim *sim, struct end *end)
{
    ior__ring_free(&end->in);
    end->state = END_FREE;
    end->next_free = sim->ends_free;
    sim->ends_free = end->self.index + 1;
}

void ior__ends_free(struct ior_sim *sim)
{
    for (uint32_t i = 0; i < sim->ends_made; i++)
        ior__ring_free(&sim->pages[i / PAGE_ENDS][i % PAGE_ENDS].in);
    for (uint32_t i = 0; i < sim->pages_n; i++)
        ior__mem_free(sim->pages[i]);
    ior__mem_free(sim->pages);
}

void ior__end_pair(struct ior_sim *sim, struct end *a, struct end *b)
{
    a->other = b->self;
    b->other = a->self;
    a->state = b->state = END_OPEN;
    if (a->conn == 0)
        a->conn = ++sim->conns;
    b->conn = a->conn;
    b->link = a->link;
    if (a->link)
        a->limit = b->limit = a->link->is.buffer_bytes;
}

void ior__end_changed(struct ior_sim *sim, struct end *end, unsigned what)
{
    if (!end->owner)
        return;
    if (end->is_peers)
        ior__peer_changed(sim, end->owner, what);
    else
        ior__watches_look(end->owner, sim);
}

/* ---- what can be done ---- */

/* The other end, where it can still receive. */
static struct end *receiver(const struct ior_sim *sim, const struct end *end)
{
    struct end *other = ior__end_at(sim, end->other);
    return other && other->state != END_DEAD ? other : NULL;
}

size_t ior__end_room(const struct ior_sim *sim, const struct end *end)
{
    const struct end *other = receiver(sim, end);
    if (!other)
        return end->to_nobody ? 0 : end->limit;
    return other->limit > other->in.len ? other->limit - other->in.len : 0;
}

/* As in Linux: a third of the room makes it worth while to write. */
static bool is_writable(const struct ior_sim *sim, const struct end *end)
{
    size_t room = ior__end_room(sim, end);
    return room > 0 && room * 3 >= end->limit;
}

static unsigned pipe_ready(const struct ior_sim *sim, const struct end *end)
{
    if (end->kind == END_PIPE_READER)
        return (end->arrived > 0 ? (unsigned)IOR_READ : 0u) | (end->other_gone ? (unsigned)IOR_HUP : 0u);
    if (end->other_gone)
        return IOR_WRITE | IOR_ERR;
    return is_writable(sim, end) ? IOR_WRITE : 0u;
}

unsigned ior__end_ready(const struct ior_sim *sim, const struct end *end)
{
    unsigned what = 0;

    if (end->kind == END_PIPE_READER || end->kind == END_PIPE_WRITER)
        return pipe_ready(sim, end);
    if (end->state == END_CONNECTING)
        return 0;
    if (end->state == END_NEW)
        return IOR_WRITE | IOR_HUP;
    bool dead = end->state == END_DEAD || end->other_gone;
    if (end->arrived > 0 || end->fin_seen || end->read_shut || dead)
        what |= IOR_READ;
    if (dead || end->fin_sent || is_writable(sim, end))
        what |= IOR_WRITE;
    if (dead || (end->fin_sent && (end->fin_seen || end->read_shut)))
        what |= IOR_HUP;
    if (end->error)
        what |= IOR_ERR;
    return what;
}

/* A pending error is told once. */
static int take_error(struct end *end)
{
    int err = end->error;
    end->error = 0;
    return -err;
}

int ior__end_may_send(struct ior_sim *sim, struct end *end)
{
    if (end->kind == END_PIPE_READER)
        return -EBADF;
    if (end->kind == END_UNIX && end->other_gone)
        return -EPIPE; /* a pending error is left to reads */
    if (end->error)
        return take_error(end);
    if (end->state == END_NEW)
        return end->kind == END_TCP ? -EPIPE : -ENOTCONN;
    if (end->state == END_CONNECTING)
        return -EAGAIN;
    if (end->state == END_DEAD || end->fin_sent || end->other_gone)
        return -EPIPE;
    return ior__end_room(sim, end) > 0 ? 1 : -EAGAIN;
}

int ior__end_may_take(struct ior_sim *sim, struct end *end)
{
    (void)sim;
    if (end->kind == END_PIPE_WRITER)
        return -EBADF;
    if (end->arrived > 0)
        return 1;
    if (end->kind == END_TCP && end->fin_seen)
        return 0; /* of a reset that comes behind the other side's FIN only writes are told */
    if (end->error)
        return take_error(end);
    if (end->state == END_NEW)
        return end->kind == END_TCP ? -ENOTCONN : -EINVAL;
    if (end->state == END_DEAD || end->fin_seen || end->read_shut || end->other_gone)
        return 0;
    return -EAGAIN;
}

/* ---- sending ---- */

static bool arrives_at_once(const struct ior_sim *sim, const struct end *from)
{
    const struct link *link = from->link;
    if (!link)
        return true;
    return link->is.latency_ns == 0 && link->is.jitter_ns == 0 && link->is.bytes_per_sec == 0 && from->flying == 0 &&
           !ior__link_is_cut(sim, link) && sim->config.rates.cut == 0;
}

static uint64_t travel_ns(struct ior_sim *sim, const struct link *link)
{
    if (!link)
        return 0;
    return link->is.latency_ns + (link->is.jitter_ns > 0 ? ior_sim_choose(sim, link->is.jitter_ns + 1) : 0);
}

/* len * 1e9 / rate, without overflow for what a segment can be. */
static uint64_t line_time_ns(uint64_t len, uint64_t rate)
{
    return len / rate * IOR_NS_PER_SEC + len % rate * IOR_NS_PER_SEC / rate;
}

static void send_segment(struct ior_sim *sim, struct end *from, enum due_what what, uint32_t n)
{
    const struct link *link = from->link;
    uint64_t leaves_ns = sim->now_ns;
    if (link && link->is.bytes_per_sec > 0) {
        leaves_ns = (from->line_ns > leaves_ns ? from->line_ns : leaves_ns) + line_time_ns(n, link->is.bytes_per_sec);
        from->line_ns = leaves_ns;
    }
    uint64_t at_ns = leaves_ns + travel_ns(sim, link);
    if (at_ns < from->last_ns)
        at_ns = from->last_ns;
    from->last_ns = at_ns;
    from->flying++;
    ior__calendar_add(sim, at_ns, (struct due){.what = what, .a = from->other, .b = from->self, .n = n});
}

void ior__end_put(struct ior_sim *sim, struct end *end, const void *bytes, size_t len)
{
    struct end *other = receiver(sim, end);
    if (other)
        ior__ring_put(&other->in, bytes, len);
}

void ior__end_sent(struct ior_sim *sim, struct end *end, size_t len)
{
    struct end *other = receiver(sim, end);
    if (!other)
        end->to_nobody = true;
    if (other && !other->vanished && arrives_at_once(sim, end)) {
        other->arrived += (uint32_t)len;
        ior__end_changed(sim, other, IOR_READ);
    } else {
        send_segment(sim, end, DUE_DATA, (uint32_t)len);
    }
}

void ior__end_fin(struct ior_sim *sim, struct end *end)
{
    if (end->fin_sent)
        return;
    end->fin_sent = true;
    struct end *other = ior__end_at(sim, end->other);
    if (other && !other->vanished && arrives_at_once(sim, end)) {
        other->fin_seen = true;
        ior__end_changed(sim, other, IOR_READ);
    } else if (other) {
        send_segment(sim, end, DUE_FIN, 0);
    }
}

/* ---- receiving ---- */

size_t ior__end_take(struct ior_sim *sim, struct end *end, void *bytes, size_t len, uint64_t *sum)
{
    struct end *other = ior__end_at(sim, end->other);
    size_t room_before = other ? ior__end_room(sim, other) : 0;
    size_t most = len < end->arrived ? len : end->arrived;

    for (size_t done = 0; done < most;) {
        const unsigned char *piece;
        size_t n = ior__ring_look(&end->in, &piece);
        n = n < most - done ? n : most - done;
        if (bytes)
            memcpy((unsigned char *)bytes + done, piece, n);
        if (sum)
            *sum = ior_sim_sum(*sum, piece, n);
        ior__ring_drop(&end->in, n);
        done += n;
    }
    end->arrived -= (uint32_t)most;
    if (other && room_before * 3 < other->limit)
        ior__end_changed(sim, other, IOR_WRITE);
    return most;
}

/* ---- ends ---- */

void ior__end_die(struct ior_sim *sim, struct end *end, int err)
{
    if (end->state == END_DEAD || end->state == END_FREE)
        return;
    end->state = END_DEAD;
    end->error = end->ended = (int16_t)err;
    end->in.len = end->arrived;
    if (end->in.len == 0)
        ior__ring_free(&end->in);
    ior__end_changed(sim, end, IOR_READ | IOR_WRITE | IOR_ERR);
}

void ior__end_send_reset(struct ior_sim *sim, struct end *end, bool overtaking)
{
    struct end *other = ior__end_at(sim, end->other);
    if (!other || other->state == END_DEAD)
        return;
    if (end->kind != END_TCP) {
        other->error = ECONNRESET;
        other->ended = ECONNRESET;
        other->other_gone = true;
        ior__end_changed(sim, other, IOR_READ | IOR_WRITE | IOR_ERR);
    } else if (overtaking && other->state == END_OPEN) {
        ior__calendar_add(sim, sim->now_ns + travel_ns(sim, end->link),
                          (struct due){.what = DUE_RESET, .a = end->other, .b = end->self});
    } else {
        send_segment(sim, end, DUE_RESET, 0);
    }
}

static void close_unix(struct ior_sim *sim, struct end *end, bool reset)
{
    struct end *other = ior__end_at(sim, end->other);
    if (!other)
        return;
    if (reset || (end->kind == END_UNIX && end->in.len > 0)) {
        ior__end_send_reset(sim, end, false);
        return;
    }
    other->fin_seen = true;
    other->other_gone = true;
    ior__end_changed(sim, other, IOR_READ | IOR_WRITE);
}

void ior__end_close(struct ior_sim *sim, struct end *end, bool reset)
{
    end->owner = NULL;
    if (end->vanished)
        return; /* it goes on saying nothing */
    if (end->kind != END_TCP)
        close_unix(sim, end, reset);
    else if (end->state == END_OPEN && (reset || end->arrived > 0))
        ior__end_send_reset(sim, end, ior_sim_choose(sim, 2) == 1);
    else if (end->state == END_OPEN)
        ior__end_fin(sim, end);
    ior__end_forget(sim, end);
}

void ior__end_vanish(struct ior_sim *sim, struct end *end)
{
    ior__trace_net(sim, "vanished", end, 0, 0);
    end->vanished = true;
}

/* ---- what arrives ---- */

void ior__end_hold(struct ior_sim *sim, struct end *end)
{
    uint64_t after_ns = end->state == END_CONNECTING ? sim->config.syn_timeout_ns : sim->config.data_timeout_ns;
    end->held++;
    if (end->timing)
        return;
    end->timing = true;
    ior__calendar_add(sim, ior_time_add(sim->now_ns, after_ns), (struct due){.what = DUE_TIMEOUT, .a = end->self});
}

void ior__end_timeout(struct ior_sim *sim, const struct due *due)
{
    struct end *end = ior__end_at(sim, due->a);
    if (!end)
        return;
    end->timing = false;
    if (end->held == 0 || end->state == END_DEAD || end->vanished)
        return;
    ior__trace_net(sim, "times out", end, 0, ETIMEDOUT);
    ior__end_die(sim, end, ETIMEDOUT);
}

/* Nobody is there any more: whoever sent is told so. */
static void meets_nobody(struct ior_sim *sim, const struct due *due, struct end *from)
{
    if (!from || due->what != DUE_DATA)
        return;
    from->to_nobody = true;
    ior__calendar_add(sim, sim->now_ns + travel_ns(sim, from->link), (struct due){.what = DUE_RESET, .a = from->self});
}

static void receive(struct ior_sim *sim, const struct due *due, struct end *end)
{
    switch (due->what) {
    case DUE_DATA:
        ior__trace_net(sim, "data", end, due->n, 0);
        end->arrived += due->n;
        ior__end_changed(sim, end, IOR_READ);
        break;
    case DUE_FIN:
        ior__trace_net(sim, "fin", end, 0, 0);
        end->fin_seen = true;
        ior__end_changed(sim, end, IOR_READ);
        break;
    case DUE_REFUSED:
        ior__trace_net(sim, "refused", end, 0, ECONNREFUSED);
        ior__end_die(sim, end, ECONNREFUSED);
        break;
    default:
        ior__trace_net(sim, "reset", end, 0, ECONNRESET);
        ior__end_die(sim, end, end->state == END_CONNECTING ? ECONNREFUSED : end->fin_seen ? EPIPE : ECONNRESET);
        break;
    }
}

void ior__end_segment(struct ior_sim *sim, const struct due *due)
{
    struct end *end = ior__end_at(sim, due->a);
    struct end *from = ior__end_at(sim, due->b);
    struct link *link = end ? end->link : from ? from->link : NULL;

    if (link && !link->cut && ior__chance(sim, sim->config.rates.cut)) {
        sim->faults++;
        ior_sim_cut(sim, (int)link->a, (int)link->b);
        ior__calendar_add(sim, sim->now_ns + 1 + ior_sim_choose(sim, sim->config.rates.cut_ns),
                          (struct due){.what = DUE_HEAL, .a.index = link->a, .b.index = link->b});
    }
    if (ior__link_is_cut(sim, link) || (end && end->vanished)) {
        if (from)
            ior__end_hold(sim, from);
        if (!(end && end->vanished))
            ior__calendar_hold(sim, due);
        return;
    }
    if (from && from->flying > 0 && due->what != DUE_REFUSED)
        from->flying--;
    if (!end || end->state == END_DEAD)
        meets_nobody(sim, due, from);
    else
        receive(sim, due, end);
}
