/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Datagram sockets: UDP and Unix datagrams, as Linux has them.
 *
 * A UDP datagram travels by the calendar, each on its own: it may be lost, come twice, or be overtaken, by the rates of
 * the world; over a cut link it is lost. What arrives is put into the queue of the socket that fits best, or dropped
 * where that is full. Where nobody is, an ICMP error travels back: it is pending at the sender, if that is connected, or
 * asked for errors (IP_RECVERR) and then is queued with the peer it is about. A Unix datagram arrives at once or is
 * refused.
 *
 * Not modelled: fragments, multicast, broadcast, the limit of ICMP errors.
 */
#include "world.h"

#include <stdio.h>
#include <string.h>

#define LIMIT_BYTES 65536u /* of queues, where the world's link does not say */
#define OVERHEAD 32u       /* what a datagram counts beyond its bytes */
#define V4_MOST 65507u
#define V6_MOST 65527u
#define ERRORS_MOST 32u

struct packet {
    struct where from, to;
    struct packet *next;
    uint32_t sender; /* number of its socket; 0: a Unix one's, or an ICMP error */
    uint32_t len;
    int error; /* an ICMP error on its way back to `reports_to` */
    uint32_t reports_to;
    unsigned char bytes[];
};

/* ---- packets ---- */

static struct packet *packet_new(const struct where *from, const struct where *to, const void *bytes, size_t len)
{
    struct packet *packet = ior__mem_new(sizeof(*packet) + len);
    packet->from = *from;
    packet->to = *to;
    packet->len = (uint32_t)len;
    if (len > 0)
        memcpy(packet->bytes, bytes, len);
    return packet;
}

static void trace(struct ior_sim *sim, const char *what, const struct packet *packet)
{
    char text[128];
    snprintf(text, sizeof(text), "datagram h%u:%u - h%u:%u: %s %u", packet->from.host,
             packet->from.family == FAMILY_UNIX ? packet->from.path : packet->from.port, packet->to.host,
             packet->to.family == FAMILY_UNIX ? packet->to.path : packet->to.port, what, packet->len);
    ior__trace_text(sim, text);
}

static void queue_add(struct packets *queue, struct packet *packet)
{
    packet->next = NULL;
    if (queue->last)
        queue->last->next = packet;
    else
        queue->first = packet;
    queue->last = packet;
    queue->count++;
    queue->bytes += packet->len + OVERHEAD;
}

static struct packet *queue_take(struct packets *queue)
{
    struct packet *packet = queue->first;
    if (!packet)
        return NULL;
    queue->first = packet->next;
    if (!queue->first)
        queue->last = NULL;
    queue->count--;
    queue->bytes -= packet->len + OVERHEAD;
    return packet;
}

static void queue_free(struct packets *queue)
{
    for (struct packet *packet; (packet = queue_take(queue)) != NULL;)
        ior__mem_free(packet);
}

/* ---- sockets ---- */

struct box *ior__box_new(struct ior_sim *sim, uint32_t host, enum family family, void *owner)
{
    struct box *box = ior__mem_new(sizeof(*box));
    box->host = host;
    box->number = ++sim->boxes_made;
    box->owner = owner;
    box->limit = sim->config.link.buffer_bytes ? sim->config.link.buffer_bytes : LIMIT_BYTES;
    box->local = (struct where){.host = host, .any = true, .family = (uint8_t)family};
    box->previous = sim->last_box;
    if (sim->last_box)
        sim->last_box->next = box;
    else
        sim->first_box = box;
    sim->last_box = box;
    return box;
}

static void changed(struct ior_sim *sim, struct box *box)
{
    if (box->owner)
        ior__watches_look(box->owner, sim);
}

/* Unix sockets that are connected to this one may write again. */
static void wake_writers(struct ior_sim *sim, const struct box *box)
{
    if (box->local.family != FAMILY_UNIX || box->local.path == 0)
        return;
    for (struct box *at = sim->first_box; at; at = at->next) {
        if (at->connected && at->remote.family == FAMILY_UNIX && at->remote.path == box->local.path)
            changed(sim, at);
    }
}

void ior__box_free(struct ior_sim *sim, struct box *box)
{
    if (box->next)
        box->next->previous = box->previous;
    else
        sim->last_box = box->previous;
    if (box->previous)
        box->previous->next = box->next;
    else
        sim->first_box = box->next;
    if (box->bound)
        ior__bound_free(sim, box->bound);
    wake_writers(sim, box);
    queue_free(&box->in);
    queue_free(&box->errors);
    ior__mem_free(box);
}

static struct box *box_numbered(const struct ior_sim *sim, uint32_t number)
{
    for (struct box *box = sim->first_box; box; box = box->next) {
        if (box->number == number)
            return box;
    }
    return NULL;
}

int ior__box_bind(struct ior_sim *sim, struct box *box, const struct where *where, const struct listener *like)
{
    struct where at = *where;
    struct listener as = *like;
    if (box->bound)
        return -EINVAL;
    if (at.family != box->local.family)
        return -EAFNOSUPPORT;
    as.owner = box;
    as.is_datagram = true;
    int err = ior__bound_new(sim, box->host, &at, &as, &box->bound);
    if (err == 0)
        box->local = at;
    return err;
}

/* A socket that sends has a port. */
static int bind_itself(struct ior_sim *sim, struct box *box)
{
    const struct listener like = {0};
    struct where where = box->local;
    return box->bound || box->local.family == FAMILY_UNIX ? 0 : ior__box_bind(sim, box, &where, &like);
}

/* The socket that a Unix address means, or why there is none. */
static int unix_box(const struct ior_sim *sim, const struct where *to, struct box **ret)
{
    if (to->path == 0)
        return -ECONNREFUSED;
    const struct path *path = ior__path_at(sim, to->path);
    if (!path->exists)
        return path->name[0] == '@' ? -ECONNREFUSED : -ENOENT;
    if (!path->is_socket || !path->bound)
        return -ECONNREFUSED;
    if (!path->bound->is_datagram)
        return -EPROTOTYPE;
    *ret = path->bound->owner;
    return 0;
}

int ior__box_connect(struct ior_sim *sim, struct box *box, const struct where *to)
{
    struct box *other;
    if (to->family != box->local.family)
        return -EAFNOSUPPORT;
    if (to->family == FAMILY_UNIX) {
        int err = unix_box(sim, to, &other);
        if (err < 0)
            return err;
    } else if (to->host == 0) {
        return -ENETUNREACH;
    }
    int err = bind_itself(sim, box);
    if (err < 0)
        return err;
    box->remote = *to;
    box->connected = true;
    if (to->family != FAMILY_UNIX) {
        box->remote.loop = to->loop || to->any;
        box->remote.any = false;
        if (box->local.any) {
            box->local.any = false;
            box->local.loop = box->remote.loop;
            box->local.mapped = to->mapped;
        }
    }
    changed(sim, box);
    return 0;
}

unsigned ior__box_ready(const struct ior_sim *sim, const struct box *box)
{
    unsigned ready = box->in.count > 0 ? IOR_READ : 0u;
    struct box *other;
    if (box->error || box->errors.count > 0)
        ready |= IOR_ERR;
    if (box->local.family != FAMILY_UNIX)
        return box->flying * 2 <= box->limit ? ready | IOR_WRITE : ready;
    bool full = box->connected && unix_box(sim, &box->remote, &other) == 0 && other->in.bytes >= other->limit;
    return full ? ready : ready | IOR_WRITE;
}

int ior__box_error(struct box *box)
{
    int error = box->error;
    box->error = 0;
    return error;
}

/* ---- sending ---- */

static void forget(struct ior_sim *sim, uint32_t place)
{
    sim->packets[place] = NULL;
    sim->packets_free =
        ior__mem_room(sim->packets_free, sim->packets_free_n, &sim->packets_free_room, sizeof(uint32_t));
    sim->packets_free[sim->packets_free_n++] = place;
}

static void fly(struct ior_sim *sim, struct packet *packet, uint64_t at_ns)
{
    uint32_t place;
    if (sim->packets_free_n > 0) {
        place = sim->packets_free[--sim->packets_free_n];
    } else {
        sim->packets = ior__mem_room(sim->packets, sim->packets_n, &sim->packets_room, sizeof(struct packet *));
        place = sim->packets_n++;
    }
    sim->packets[place] = packet;
    ior__calendar_add(sim, at_ns, (struct due){.what = DUE_PACKET, .n = place});
}

/* When a datagram that leaves now arrives; IOR_NEVER: it is lost. */
static uint64_t arrives_ns(struct ior_sim *sim, const struct packet *packet)
{
    const struct link *link = ior__link_between(sim, packet->from.host, packet->to.host);
    const struct ior_sim_rates *rates = &sim->config.rates;
    if (ior__link_is_cut(sim, link))
        return IOR_NEVER;
    if (ior__chance(sim, rates->lost)) {
        sim->faults++;
        return IOR_NEVER;
    }
    uint64_t ns = link->is.latency_ns;
    if (link->is.jitter_ns > 0)
        ns += ior_sim_choose(sim, link->is.jitter_ns + 1);
    if (ior__chance(sim, rates->overtaken)) {
        sim->faults++;
        ns += 1 + ior_sim_choose(sim, 3 * (link->is.latency_ns + link->is.jitter_ns) + 1000);
    }
    return ior_time_add(sim->now_ns, ns);
}

static void launch(struct ior_sim *sim, struct box *box, struct packet *packet)
{
    const struct ior_sim_rates *rates = &sim->config.rates;
    unsigned copies = 1;
    if (ior__chance(sim, rates->duplicated)) {
        sim->faults++;
        copies = 2;
    }
    for (; copies > 0; copies--) {
        uint64_t at_ns = arrives_ns(sim, packet);
        if (at_ns == IOR_NEVER) {
            trace(sim, "lost", packet);
            continue;
        }
        struct packet *copy = packet_new(&packet->from, &packet->to, packet->bytes, packet->len);
        copy->sender = packet->sender;
        box->flying += copy->len + OVERHEAD;
        fly(sim, copy, at_ns);
    }
    ior__mem_free(packet);
}

static int send_unix(struct ior_sim *sim, struct box *box, const struct where *to, const void *bytes, size_t len)
{
    struct box *other;
    int err = unix_box(sim, to, &other);
    if (err < 0)
        return err;
    if (other->connected && !(other->remote.path == box->local.path && box->local.path != 0))
        return -EPERM;
    if (len > box->limit)
        return -EMSGSIZE;
    if (other->in.bytes >= other->limit)
        return -EAGAIN;
    queue_add(&other->in, packet_new(&box->local, to, bytes, len));
    changed(sim, other);
    return 0;
}

int ior__box_send(struct ior_sim *sim, struct box *box, const struct where *to, const struct where *from,
                  const void *bytes, size_t len)
{
    if (box->error)
        return -ior__box_error(box);
    if (!to && !box->connected)
        return box->local.family == FAMILY_UNIX ? -ENOTCONN : -EDESTADDRREQ;
    struct where there = to ? *to : box->remote;
    if (there.family != box->local.family)
        return -EAFNOSUPPORT;
    if (there.family == FAMILY_UNIX)
        return send_unix(sim, box, &there, bytes, len);
    if (len > (there.family == FAMILY_V6 ? V6_MOST : V4_MOST))
        return -EMSGSIZE;
    if (there.host == 0)
        return -ENETUNREACH;
    if (there.port == 0 || (from && from->host != box->host))
        return -EINVAL;
    if (box->flying >= box->limit)
        return -EAGAIN;
    int err = bind_itself(sim, box);
    if (err < 0)
        return err;
    there.loop = there.loop || there.any;
    there.any = false;
    struct where here = from ? *from : box->local;
    here.port = box->local.port;
    if (here.any)
        here.loop = there.loop;
    here.any = false;
    if (there.mapped)
        there.family = here.family = FAMILY_V4;
    there.mapped = here.mapped = false;
    struct packet *packet = packet_new(&here, &there, bytes, len);
    packet->sender = box->number;
    launch(sim, box, packet);
    return 0;
}

/* ---- receiving ---- */

/* As a socket of IPv6 sees an IPv4 address. */
static struct where seen_by(const struct box *box, struct where where)
{
    if (box->local.family == FAMILY_V6 && where.family == FAMILY_V4) {
        where.family = FAMILY_V6;
        where.mapped = true;
    }
    return where;
}

/* How well a socket fits a datagram: 0: not. */
static int fits(const struct box *box, const struct packet *packet)
{
    const struct where *at = &box->local, *to = &packet->to;
    if (!box->bound || at->host != to->host || at->port != to->port || at->family == FAMILY_UNIX)
        return 0;
    if (at->family != to->family && !at->mapped && !(at->family == FAMILY_V6 && at->any && !box->bound->v6_only))
        return 0;
    int fit = at->any ? (at->family == to->family ? 2 : 1) : at->loop == to->loop ? 3 : 0;
    if (fit == 0 || !box->connected)
        return fit;
    bool from_it = box->remote.host == packet->from.host && box->remote.port == packet->from.port &&
                   box->remote.loop == packet->from.loop;
    return from_it ? fit + 4 : 0;
}

/* The best one; one of several that share the address is chosen. */
static struct box *find(struct ior_sim *sim, const struct packet *packet)
{
    int best = 0;
    uint64_t count = 0;
    for (const struct box *box = sim->first_box; box; box = box->next) {
        int fit = fits(box, packet);
        count = fit > best ? 1 : fit == best && fit > 0 ? count + 1 : count;
        best = fit > best ? fit : best;
    }
    if (best == 0)
        return NULL;
    uint64_t chosen = ior_sim_choose(sim, count);
    for (struct box *box = sim->first_box; box; box = box->next) {
        if (fits(box, packet) == best && chosen-- == 0)
            return box;
    }
    return NULL;
}

/* Nobody has the port: an ICMP error goes back, to the port it came from. */
static void unreachable(struct ior_sim *sim, const struct packet *packet)
{
    struct packet *icmp = packet_new(&packet->to, &packet->from, packet->bytes, packet->len);
    icmp->error = ECONNREFUSED;
    icmp->reports_to = packet->sender;
    uint64_t at_ns = arrives_ns(sim, icmp);
    trace(sim, at_ns == IOR_NEVER ? "error lost" : "unreachable", icmp);
    if (at_ns == IOR_NEVER)
        ior__mem_free(icmp);
    else
        fly(sim, icmp, at_ns);
}

/* Takes the packet. */
static void report(struct ior_sim *sim, struct packet *icmp)
{
    struct box *box = box_numbered(sim, icmp->reports_to);
    bool wanted = box && (box->asks_errors || box->connected);
    trace(sim, wanted ? "refused" : "refused, unheard", icmp);
    if (wanted)
        box->error = icmp->error;
    if (wanted && box->asks_errors && box->errors.count < ERRORS_MOST)
        queue_add(&box->errors, icmp);
    else
        ior__mem_free(icmp);
    if (wanted)
        changed(sim, box);
}

void ior__box_arrives(struct ior_sim *sim, const struct due *due)
{
    struct packet *packet = sim->packets[due->n];
    struct box *sender = box_numbered(sim, packet->sender);
    forget(sim, due->n);
    if (packet->error) {
        report(sim, packet);
        return;
    }
    if (sender) {
        sender->flying -= packet->len + OVERHEAD;
        changed(sim, sender);
    }
    struct box *box = find(sim, packet);
    if (box && box->in.bytes < box->limit) {
        trace(sim, "arrives", packet);
        queue_add(&box->in, packet);
        changed(sim, box);
        return;
    }
    trace(sim, box ? "dropped" : "nobody", packet);
    if (!box)
        unreachable(sim, packet);
    ior__mem_free(packet);
}

bool ior__box_take(struct ior_sim *sim, struct box *box, struct taken *ret)
{
    struct packet *packet = queue_take(&box->in);
    if (!packet)
        return false;
    ret->truncated = packet->len > ret->len;
    ret->len = packet->len < ret->len ? packet->len : ret->len;
    if (ret->len > 0)
        memcpy(ret->bytes, packet->bytes, ret->len);
    ret->peer = seen_by(box, packet->from);
    ret->local = seen_by(box, packet->to);
    ior__mem_free(packet);
    wake_writers(sim, box);
    return true;
}

bool ior__box_take_error(struct box *box, struct taken *ret)
{
    struct packet *icmp = queue_take(&box->errors);
    if (!icmp)
        return false;
    ret->truncated = icmp->len > ret->len;
    ret->len = icmp->len < ret->len ? icmp->len : ret->len;
    if (ret->len > 0)
        memcpy(ret->bytes, icmp->bytes, ret->len);
    ret->peer = seen_by(box, icmp->from);
    ret->error = icmp->error;
    box->error = box->errors.first ? box->errors.first->error : 0;
    ior__mem_free(icmp);
    return true;
}

void ior__boxes_free(struct ior_sim *sim)
{
    while (sim->first_box)
        ior__box_free(sim, sim->first_box);
    for (uint32_t i = 0; i < sim->packets_n; i++)
        ior__mem_free(sim->packets[i]);
    ior__mem_free(sim->packets);
    ior__mem_free(sim->packets_free);
}

/* ---- plain sockets of the test's ---- */

struct ior_sim_mailbox *ior_sim_mailbox(struct ior_sim *sim, int host, const char *addr)
{
    struct ior_addr parsed;
    struct where where;
    const struct listener like = {0};
    if (!sim || !addr || !ior__host_at(sim, host) || ior_addr_parse(&parsed, addr) < 0 ||
        !ior__where_of(sim, host, &parsed, &where))
        return NULL;
    struct ior_sim_mailbox *mailbox = ior__mem_new(sizeof(*mailbox));
    mailbox->sim = sim;
    mailbox->box = ior__box_new(sim, (uint32_t)host, (enum family)where.family, NULL);
    if (ior__box_bind(sim, mailbox->box, &where, &like) == 0)
        return mailbox;
    ior_sim_mailbox_free(mailbox);
    return NULL;
}

int ior_sim_mailbox_send(struct ior_sim_mailbox *mailbox, const struct ior_addr *to, const void *bytes, size_t len)
{
    struct where where;
    if (!mailbox || !to || (!bytes && len > 0))
        return -EINVAL;
    if (!ior__where_of(mailbox->sim, (int)mailbox->box->host, to, &where))
        return -EAFNOSUPPORT;
    return ior__box_send(mailbox->sim, mailbox->box, &where, NULL, bytes, len);
}

ssize_t ior_sim_mailbox_take(struct ior_sim_mailbox *mailbox, void *bytes, size_t len, struct ior_addr *from)
{
    struct taken taken = {.bytes = bytes, .len = len};
    if (!mailbox || (!bytes && len > 0))
        return -EINVAL;
    if (!ior__box_take(mailbox->sim, mailbox->box, &taken))
        return -EAGAIN;
    if (from)
        ior__where_addr(mailbox->sim, &taken.peer, from);
    return (ssize_t)taken.len;
}

struct ior_addr ior_sim_mailbox_addr(const struct ior_sim_mailbox *mailbox)
{
    struct where where = mailbox->box->local;
    struct ior_addr addr = {0};
    where.any = false;
    ior__where_addr(mailbox->sim, &where, &addr);
    return addr;
}

void ior_sim_mailbox_free(struct ior_sim_mailbox *mailbox)
{
    if (!mailbox)
        return;
    ior__box_free(mailbox->sim, mailbox->box);
    ior__mem_free(mailbox);
}
