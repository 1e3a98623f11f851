/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The queue of a datagram socket: what sends add, and how the end of the turn writes it.
 *
 * It is a queue as that of streams (output.h), with the same sums, marks and caps; but its pieces hold packets, each
 * with its addresses. `bytes` and `charge` are those of the datagrams alone; what a packet needs beyond them is its
 * `cost`, so that many small datagrams are bounded too.
 *
 * A datagram that fails is told and dropped, and the next one goes. On an Internet socket the error that a send answers
 * may be an older one's (an ICMP message came back) and the send has done nothing; so the datagram is tried again. Some
 * errors are never a send's own; with the others, what fails a second time is its own. Nothing here asks the service while a packet is half out of the queue.
 */
#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "datagram.h"
#include "output.h"

#define PIECE_BYTES 8192u /* a block that packets share */
#define V4_MOST 65507u    /* 65535 without the headers of IPv4 and UDP */
#define V6_MOST 65527u

/* ---- requests ---- */

static bool has_room(const struct ior__piece *piece, size_t size)
{
    return piece && piece->capacity - piece->end >= size;
}

static size_t capacity_for(size_t size)
{
    const size_t least = PIECE_BYTES - sizeof(struct ior__piece);
    return size < least ? least : size;
}

/* What a packet of that size adds to the runtime's sum, without the queue's own block. */
static uint64_t memory_for(const struct ior__output *out, size_t size)
{
    if (out && out->tail ? has_room(out->tail, size) : size <= IOR__OUTPUT_ROOM)
        return 0;
    return sizeof(struct ior__piece) + capacity_for(size);
}

static struct ior__piece *piece_with_room(struct ior_runtime *rt, struct ior__output *out, size_t size)
{
    if (has_room(out->tail, size))
        return out->tail;
    struct ior__piece *piece = &out->first_piece;
    if (out->tail || size > IOR__OUTPUT_ROOM) {
        size_t capacity = capacity_for(size);
        piece = ior__alloc(sizeof(*piece) + capacity);
        if (!piece)
            return NULL;
        *piece = (struct ior__piece){
            .bytes = (unsigned char *)(piece + 1), .capacity = (uint32_t)capacity, .kind = IOR__PIECE_COPY};
        out->memory += sizeof(*piece) + capacity;
        rt->output_bytes += sizeof(*piece) + capacity;
    }
    piece->start = piece->end = 0;
    piece->next = NULL;
    if (out->tail)
        out->tail->next = piece;
    else
        out->head = piece;
    out->tail = piece;
    return piece;
}

static size_t most_bytes(const struct ior__datagram *dg)
{
    return dg->family == AF_INET ? V4_MOST : dg->family == AF_INET6 ? V6_MOST : INT32_MAX;
}

static int enqueue(struct ior__datagram *dg, const struct ior_addr *local, const struct ior_addr *peer,
                   const struct iovec *iov, int n)
{
    struct ior_resource *res = &dg->base;
    size_t len = 0;
    for (int i = 0; i < n; i++) {
        if (iov[i].iov_len > most_bytes(dg) - len)
            return -EMSGSIZE;
        len += iov[i].iov_len;
    }
    struct ior__packet packet = {.len = (uint32_t)len,
                                 .peer_len = peer ? (uint16_t)peer->len : 0,
                                 .local_len = local ? (uint16_t)local->len : 0};
    size_t size = ior__packet_size(packet.peer_len, packet.local_len, len);
    int err = ior__send_admit(res, len, size - len, memory_for(res->output, size));
    if (err < 0)
        return err;
    struct ior__output *out = ior__send_queue(res);
    struct ior__piece *piece = out ? piece_with_room(res->cx->rt, out, size) : NULL;
    if (!piece) {
        ior__output_release(res);
        return -ENOMEM;
    }
    unsigned char *at = piece->bytes + piece->end;
    memcpy(at, &packet, sizeof(packet));
    if (peer)
        memcpy(at + sizeof(packet), peer->raw, peer->len);
    if (local)
        memcpy(at + sizeof(packet) + packet.peer_len, local->raw, local->len);
    at = ior__packet_bytes(at, &packet);
    for (int i = 0; i < n; i++) {
        if (iov[i].iov_len > 0)
            memcpy(at, iov[i].iov_base, iov[i].iov_len);
        at += iov[i].iov_len;
    }
    piece->end += size;
    out->cost += size - len;
    dg->queued++;
    return ior__send_taken(res, len, len);
}

int ior__datagram_send(struct ior_resource *res, const struct iovec *iov, int n)
{
    struct ior__datagram *dg = ior__datagram_of(res);
    return dg->connected ? enqueue(dg, NULL, NULL, iov, n) : -EDESTADDRREQ;
}

static int family_of(const struct ior_addr *addr)
{
    struct sockaddr sa;
    if (addr->len < offsetof(struct sockaddr, sa_data) || addr->len > sizeof(addr->raw))
        return AF_UNSPEC;
    memcpy(&sa, addr->raw, sizeof(sa));
    if ((sa.sa_family == AF_INET && addr->len < sizeof(struct sockaddr_in)) ||
        (sa.sa_family == AF_INET6 && addr->len < sizeof(struct sockaddr_in6)))
        return AF_UNSPEC;
    return sa.sa_family;
}

/* A datagram socket that takes sends. */
static int find_datagram(struct ior_context *cx, ior_id id, struct ior__datagram **ret)
{
    struct ior_resource *res;
    int err = ior__find(cx, id, &res);
    if (err < 0)
        return err == -EALREADY ? -EPIPE : err;
    if (!ior__is_datagram(res))
        return -EOPNOTSUPP;
    if (res->bits & IOR__NO_SEND_BITS)
        return -EPIPE;
    *ret = ior__datagram_of(res);
    return 0;
}

static int send_datagram(struct ior_context *cx, ior_id id, const struct ior_addr *local, const struct ior_addr *peer,
                         const void *bytes, size_t len)
{
    struct ior__datagram *dg = NULL;
    int err = find_datagram(cx, id, &dg);
    if (err < 0)
        return err;
    if (!peer || (!bytes && len > 0))
        return -EINVAL;
    if (local && dg->family == AF_UNIX)
        return -EOPNOTSUPP;
    if (family_of(peer) != dg->family || (local && family_of(local) != dg->family))
        return -EAFNOSUPPORT;
    if (dg->connected)
        return -EISCONN;
    struct iovec iov = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = len};
    return enqueue(dg, local, peer, &iov, 1);
}

int ior_send_to(struct ior_context *cx, ior_id id, const struct ior_addr *peer, const void *bytes, size_t len)
{
    return send_datagram(cx, id, NULL, peer, bytes, len);
}

int ior_send_from(struct ior_context *cx, ior_id id, const struct ior_addr *local, const struct ior_addr *peer,
                  const void *bytes, size_t len)
{
    return send_datagram(cx, id, local, peer, bytes, len);
}

/* ---- the end of the turn ---- */

/* A walk over the packets of a queue. */
struct walk {
    const struct ior__piece *piece;
    uint64_t at;
};

static const unsigned char *walk_next(struct walk *walk, struct ior__packet *ret)
{
    if (walk->piece && walk->at == walk->piece->end) {
        walk->piece = walk->piece->next;
        walk->at = walk->piece ? walk->piece->start : 0;
    }
    if (!walk->piece)
        return NULL;
    const unsigned char *at = walk->piece->bytes + walk->at;
    *ret = ior__packet_at(at);
    walk->at += ior__packet_size(ret->peer_len, ret->local_len, ret->len);
    return at;
}

static struct walk walk_from(const struct ior__output *out)
{
    const struct ior__piece *head = out ? out->head : NULL;
    return (struct walk){.piece = head, .at = head ? head->start : 0};
}

size_t ior__datagram_unsent(const struct ior_resource *res, struct iovec *iov, int n, int *ret_n)
{
    struct walk walk = walk_from(res->output);
    struct ior__packet packet;
    size_t len = 0;
    int i = 0;
    for (const unsigned char *at; (at = walk_next(&walk, &packet)) != NULL; i++) {
        if (iov && i < n)
            iov[i] = (struct iovec){.iov_base = ior__packet_bytes(at, &packet), .iov_len = packet.len};
        len += packet.len;
    }
    if (ret_n)
        *ret_n = i;
    return len;
}

static int gather(const struct ior__datagram *dg, struct ior_os_datagram *datagrams, int most)
{
    const struct ior__output *out = dg->base.output;
    struct walk walk = walk_from(out);
    struct ior__packet packet;
    int n = 0;
    for (const unsigned char *at; n < most && (at = walk_next(&walk, &packet)) != NULL; n++) {
        unsigned char *peer = (unsigned char *)(uintptr_t)at + sizeof(packet);
        datagrams[n] = (struct ior_os_datagram){.bytes = ior__packet_bytes(at, &packet),
                                                .len = packet.len,
                                                .peer = packet.peer_len ? peer : NULL,
                                                .peer_len = packet.peer_len,
                                                .local = packet.local_len ? peer + packet.peer_len : NULL,
                                                .local_len = packet.local_len,
                                                .joins = dg->family != AF_UNIX && dg->apart == 0};
    }
    return n;
}

/* The first packet does not count any more; it is still there. */
static struct ior__packet uncount(struct ior__datagram *dg)
{
    struct ior__output *out = dg->base.output;
    struct ior__packet packet = ior__packet_at(out->head->bytes + out->head->start);
    out->bytes -= packet.len;
    out->charge -= packet.len;
    out->cost -= ior__packet_size(packet.peer_len, packet.local_len, packet.len) - packet.len;
    dg->queued--;
    return packet;
}

static void drop(struct ior__datagram *dg, const struct ior__packet *packet)
{
    struct ior__output *out = dg->base.output;
    struct ior__piece *piece = out->head;
    piece->start += ior__packet_size(packet->peer_len, packet->local_len, packet->len);
    if (piece->start < piece->end)
        return;
    out->head = piece->next;
    if (!out->head)
        out->tail = NULL;
    if (piece->inside)
        return;
    size_t size = sizeof(*piece) + piece->capacity;
    out->memory -= size;
    dg->base.cx->rt->output_bytes -= size;
    ior__free(piece, size);
}

static void sent(struct ior__datagram *dg, int n)
{
    for (int i = 0; i < n; i++) {
        struct ior__packet packet = uncount(dg);
        dg->base.written += packet.len;
        drop(dg, &packet);
    }
    ior__touch_idle(&dg->base);
    dg->base.bits &= ~(uint32_t)IOR__TOLD_ERROR;
    dg->was_blocked = false;
}

/* The first datagram fails for good: it is told and dropped. What is sent in the callback comes behind it. */
static void fails(struct ior__datagram *dg, int error)
{
    const struct ior__output *out = dg->base.output;
    const unsigned char *at = out->head->bytes + out->head->start;
    struct ior__packet packet = uncount(dg);
    struct ior_addr peer = {.len = packet.peer_len}, local = {.len = packet.local_len};
    memcpy(peer.raw, at + sizeof(packet), packet.peer_len);
    memcpy(local.raw, at + sizeof(packet) + packet.peer_len, packet.local_len);
    struct ior_datagram about = {.bytes = ior__packet_bytes(at, &packet),
                                 .len = packet.len,
                                 .peer = packet.peer_len ? &peer : &dg->peer,
                                 .local = packet.local_len ? &local : &dg->bound};
    ior__datagram_tell_error(dg, error, &about);
    drop(dg, &packet);
    dg->was_blocked = false;
}

/* The first datagram was tried again: what it failed with before was an older one's, unless it fails so again. */
static void tried_again(struct ior__datagram *dg, int error)
{
    int first = dg->first_error;
    dg->retried = false;
    dg->first_error = 0;
    if (first != 0 && first != error)
        ior__datagram_tell_error(dg, first, NULL);
}

enum after { STOPS, TRIES_AGAIN, DROPPED };

#define TRIES_MOST 16 /* of one datagram in a turn */

/* What cannot be cut on one device or path (a tunnel) may be on the next: it is tried again after so many sends. */
#define APART_SENDS 64

/* What a send over UDP does not find out itself: it comes by ICMP, for a datagram that was sent before. */
static bool is_an_older_ones(int err)
{
    switch (-err) {
    case ECONNREFUSED:
    case ENOPROTOOPT:
    case EPROTO:
    case EHOSTDOWN:
#ifdef ENONET
    case ENONET:
#endif
        return true;
    default:
        return false;
    }
}

/*
 * A send that answered an error, and what comes after it. The kernel tells when a socket can be written, but not when the Unix peer
 * of one datagram has room, unless the socket is connected to it: where the socket could be written and its first
 * datagram could not, that peer is full, and the others do not wait for it.
 */
static enum after refused(struct ior__datagram *dg, int err)
{
    struct ior_resource *res = &dg->base;
    if (err == -EINTR)
        return TRIES_AGAIN;
    if (err == -ENOBUFS || err == -ENOMEM) {
        ior__backoff(res, -err);
        return STOPS;
    }
    if (err == -EAGAIN && !(dg->was_blocked && dg->family == AF_UNIX && !dg->connected)) {
        dg->was_blocked = true;
        res->bits |= IOR__BLOCKED;
        return STOPS;
    }
    if (err == -EBADF || err == -ENOTSOCK || err == -EFAULT) {
        ior__end(res, IOR_ERROR, -err, -1);
        return STOPS;
    }
    if (dg->family != AF_UNIX && is_an_older_ones(err)) {
        if (ior__datagram_take_errors(dg) == 0)
            ior__datagram_tell_error(dg, -err, NULL);
        return TRIES_AGAIN;
    }
    if (dg->family != AF_UNIX && !dg->retried) {
        dg->retried = true;
        dg->first_error = ior__datagram_take_errors(dg) > 0 ? 0 : -err;
        return TRIES_AGAIN;
    }
    tried_again(dg, -err);
    if (res->bits & IOR__ENDING)
        return STOPS;
    fails(dg, -err);
    return DROPPED;
}

void ior__datagram_write_out(struct ior_resource *res)
{
    struct ior__datagram *dg = ior__datagram_of(res);
    const struct ior_os *os = res->cx->rt->os;
    struct ior__output *out = res->output;
    uint64_t left = dg->queued; /* what callbacks add waits for the next turn */
    for (unsigned tries = 0; left > 0 && tries < TRIES_MOST && !(res->bits & IOR__ENDING); tries++) {
        struct ior_os_datagram datagrams[IOR_OS_DATAGRAMS];
        int n = gather(dg, datagrams, left < IOR_OS_DATAGRAMS ? (int)left : IOR_OS_DATAGRAMS);
        int r = os->send_datagrams(os->arg, res->fd, datagrams, n);
        if (r > 0) {
            if (dg->apart > 0)
                dg->apart--;
            else if (dg->family != AF_UNIX && !datagrams[0].joins)
                dg->apart = APART_SENDS;
            sent(dg, r);
            left -= (uint64_t)r;
            tries = 0;
            if (dg->retried)
                tried_again(dg, 0);
            continue;
        }
        enum after after = refused(dg, r);
        if (after == STOPS)
            return;
        left -= after == DROPPED;
        if (after == DROPPED)
            tries = 0;
    }
    if (out->head && !(res->bits & IOR__ENDING))
        ior__work_add(res->cx->rt, res);
}
