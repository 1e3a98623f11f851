/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Datagram sockets: receiving, errors, the end.
 *
 * Datagrams are received several at a time into buffers of the runtime and told one by one, each with its own
 * addresses. A service that pauses, or whose output is full, in the midst of them finds the rest later: it is kept in
 * the resource (at most one receive's worth), and goes along at handover.
 *
 * An error of a datagram is no error of the socket. ICMP errors come back later than the send they are about, and the
 * system tells them to whatever call is next, which then has done nothing; with IP_RECVERR it keeps them in a queue as
 * well, with the peer each is about. So a receive that meets one is made again, and the queue is asked.
 */
#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "datagram.h"
#include "kinds.h"

#define ERRORS_MOST 64 /* of the queue of errors, at once */

/* Where the port is, in the addresses of both Internet families. */
#define PORT_AT offsetof(struct sockaddr_in, sin_port)
_Static_assert(offsetof(struct sockaddr_in6, sin6_port) == PORT_AT, "one place for the port");

/* Room for what an ICMP error brings back of the datagram. */
#define ERROR_BYTES 2048

static unsigned interests(struct ior_resource *res)
{
    return (res->bits & IOR__CLOSING) ? IOR_NONE : IOR_READ;
}

/* ---- errors ---- */

/* What a receive is told about a datagram that was sent before: the errors that ICMP messages become, and a Unix peer's. */
static bool is_of_a_send(int err)
{
    switch (-err) {
    case ECONNREFUSED:
    case ECONNRESET:
    case EHOSTUNREACH:
    case ENETUNREACH:
    case EHOSTDOWN:
    case ENETDOWN:
#ifdef ENONET
    case ENONET:
#endif
    case EPROTO:
    case ENOPROTOOPT:
    case EOPNOTSUPP:
    case EMSGSIZE:
    case EACCES:
    case EPERM:
    case ETIMEDOUT:
        return true;
    default:
        return false;
    }
}

void ior__datagram_tell_error(struct ior__datagram *dg, int error, struct ior_datagram *about)
{
    static const struct ior_addr nobody;
    struct ior_datagram unknown = {.peer = dg->connected ? &dg->peer : &nobody, .local = &dg->bound, .was_sent = true};
    struct ior_event ev = {.type = IOR_EV_SEND_ERROR};
    if (!about)
        about = &unknown;
    about->error = error;
    ior__tell_pending(&dg->base); /* it may be so new that nothing was told of it yet */
    if (dg->base.bits & IOR__ENDING)
        return;
    ev.datagram = about;
    ior__tell(&dg->base, &ev);
}

/* An error that no queue keeps. */
static int take_pending_error(struct ior__datagram *dg)
{
    const struct ior_os *os = dg->base.cx->rt->os;
    int error = 0;
    uint32_t len = sizeof(error);
    if (os->getsockopt(os->arg, dg->base.fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0 || error == 0)
        return 0;
    ior__datagram_tell_error(dg, error, NULL);
    return 1;
}

int ior__datagram_take_errors(struct ior__datagram *dg)
{
    const struct ior_os *os = dg->base.cx->rt->os;
    bool has_queue = dg->family != AF_UNIX && os->recv_error; /* also where nobody here asked for it to be filled */
    int told = 0;
    for (int i = 0; has_queue && i < ERRORS_MOST && !(dg->base.bits & IOR__ENDING); i++) {
        unsigned char bytes[ERROR_BYTES];
        struct ior_addr peer = {.len = 0};
        struct ior_os_datagram in = {
            .bytes = bytes, .len = sizeof(bytes), .peer = peer.raw, .peer_len = sizeof(peer.raw)};
        int err = os->recv_error(os->arg, dg->base.fd, &in);
        if (err == -EINTR)
            continue;
        if (err < 0)
            break;
        if (in.error == 0)
            continue;
        peer.len = in.peer_len;
        struct ior_datagram about = {
            .bytes = bytes, .len = in.len, .peer = &peer, .local = &dg->bound, .was_sent = true};
        ior__datagram_tell_error(dg, in.error, &about);
        told++;
    }
    return told > 0 || (dg->base.bits & IOR__ENDING) ? told : take_pending_error(dg);
}

/* ---- datagrams that are kept ---- */

static bool holds(const struct ior_resource *res)
{
    return ior__datagram_of(res)->held != NULL;
}

static uint64_t discarded(const struct ior_resource *res)
{
    return ior__datagram_of(res)->discarded;
}

static const struct ior__marks *marks(const struct ior_resource *res)
{
    return &ior__datagram_of(res)->marks;
}

static void held_free(struct ior__datagram *dg)
{
    if (dg->held)
        ior__free(dg->held, sizeof(*dg->held) + dg->held->size);
    dg->held = NULL;
}

/* Keeps datagrams of the runtime's buffers; what there is no memory for is only counted. */
static void hold(struct ior__datagram *dg, const struct ior__datagrams *in, int from, int to)
{
    size_t size = 0, bytes = 0;
    for (int i = from; i < to; i++) {
        size += ior__packet_size(in->peers[i].len, in->locals[i].len, in->at[i].len);
        bytes += in->at[i].len;
    }
    struct ior__held_packets *held = ior__alloc(sizeof(*held) + size);
    if (!held) {
        dg->discarded += bytes;
        return;
    }
    *held = (struct ior__held_packets){.size = size, .count = (uint32_t)(to - from)};
    for (int i = from; i < to; i++) {
        struct ior__packet packet = {.len = (uint32_t)in->at[i].len,
                                     .peer_len = (uint16_t)in->peers[i].len,
                                     .local_len = (uint16_t)in->locals[i].len,
                                     .interface = in->at[i].interface,
                                     .truncated = in->at[i].truncated};
        unsigned char *at = held->bytes + held->end;
        memcpy(at, &packet, sizeof(packet));
        memcpy(at + sizeof(packet), in->peers[i].raw, packet.peer_len);
        memcpy(at + sizeof(packet) + packet.peer_len, in->locals[i].raw, packet.local_len);
        memcpy(ior__packet_bytes(at, &packet), in->at[i].bytes, packet.len);
        held->end += ior__packet_size(packet.peer_len, packet.local_len, packet.len);
    }
    dg->held = held;
}

size_t ior__datagram_unread(const struct ior_resource *res, struct iovec *iov, int n, int *ret_n)
{
    const struct ior__held_packets *held = ior__datagram_of(res)->held;
    size_t len = 0, at = held ? held->at : 0;
    int i = 0;
    for (; held && at < held->end; i++) {
        struct ior__packet packet = ior__packet_at(held->bytes + at);
        if (iov && i < n)
            iov[i] = (struct iovec){.iov_base = ior__packet_bytes(held->bytes + at, &packet), .iov_len = packet.len};
        len += packet.len;
        at += ior__packet_size(packet.peer_len, packet.local_len, packet.len);
    }
    if (ret_n)
        *ret_n = i;
    return len;
}

/* ---- receiving ---- */

static bool goes_on(const struct ior_resource *res)
{
    return !(res->bits & IOR__ENDING) && (ior__own_interest(res) & IOR_READ);
}

static void tell(struct ior__datagram *dg, struct ior_datagram *datagram)
{
    struct ior_event ev = {.type = IOR_EV_DATAGRAM};
    ev.datagram = datagram;
    ior__tell(&dg->base, &ev);
}

static void tell_held(struct ior__datagram *dg)
{
    while (dg->held && goes_on(&dg->base)) {
        struct ior__held_packets *held = dg->held;
        const unsigned char *at = held->bytes + held->at;
        struct ior__packet packet = ior__packet_at(at);
        struct ior_addr peer = {.len = packet.peer_len}, local = {.len = packet.local_len};
        memcpy(peer.raw, at + sizeof(packet), packet.peer_len);
        memcpy(local.raw, at + sizeof(packet) + packet.peer_len, packet.local_len);
        struct ior_datagram datagram = {.bytes = ior__packet_bytes(at, &packet),
                                        .len = packet.len,
                                        .peer = &peer,
                                        .local = packet.local_len ? &local : &dg->bound,
                                        .interface = packet.interface,
                                        .truncated = packet.truncated != 0};
        held->at += ior__packet_size(packet.peer_len, packet.local_len, packet.len);
        held->count--;
        tell(dg, &datagram);
        if (held->count == 0)
            held_free(dg);
    }
}

/* Receives up to so many into the runtime's buffers: how many, or -errno. */
static int receive(struct ior__datagram *dg, int most)
{
    struct ior_runtime *rt = dg->base.cx->rt;
    struct ior__datagrams *in = rt->datagrams;
    size_t stride = in->size / IOR_OS_DATAGRAMS;
    for (int i = 0; i < most; i++) {
        in->at[i] = (struct ior_os_datagram){.bytes = in->bytes + (size_t)i * stride, .len = dg->max_bytes};
        in->at[i].peer = in->peers[i].raw;
        in->at[i].peer_len = sizeof(in->peers[i].raw);
        if (dg->tells_local) {
            in->at[i].local = in->locals[i].raw;
            in->at[i].local_len = sizeof(in->locals[i].raw);
        }
    }
    int n = rt->os->recv_datagrams(rt->os->arg, dg->base.fd, in->at, most);
    for (int i = 0; i < n; i++) {
        struct ior_addr *peer = &in->peers[i], *local = &in->locals[i];
        peer->len = in->at[i].peer_len;
        memset(peer->raw + peer->len, 0, sizeof(peer->raw) - peer->len);
        local->len = in->at[i].local_len;
        if (local->len == 0)
            continue;
        memcpy(local->raw + PORT_AT, dg->bound.raw + PORT_AT,
               sizeof(in_port_t)); /* the system tells the address alone */
        memset(local->raw + local->len, 0, sizeof(local->raw) - local->len);
    }
    return n;
}

static void deliver(struct ior__datagram *dg, int n)
{
    struct ior_runtime *rt = dg->base.cx->rt;
    struct ior__datagrams *in = rt->datagrams;
    ior__touch_idle(&dg->base);
    dg->base.bits &= ~(uint32_t)IOR__TOLD_ERROR;
    ior__datagrams_lend(in);
    for (int i = 0; i < n; i++) {
        if (!goes_on(&dg->base)) {
            hold(dg, in, i, n);
            break;
        }
        struct ior_datagram datagram = {.bytes = in->at[i].bytes,
                                        .len = in->at[i].len,
                                        .peer = &in->peers[i],
                                        .local = in->locals[i].len ? &in->locals[i] : &dg->bound,
                                        .interface = in->at[i].interface,
                                        .truncated = in->at[i].truncated};
        tell(dg, &datagram);
    }
    ior__datagrams_lent(in);
}

/* As many as came last time, and some more: a receive that was answered in full asks for twice as many. */
static void adapt(struct ior__datagram *dg, int n)
{
    int asks = n == dg->asks ? n * 2 : n + 1;
    dg->asks = (uint8_t)(asks < IOR_OS_DATAGRAMS ? asks : IOR_OS_DATAGRAMS);
}

static int handle_io(struct ior_resource *res, unsigned io, struct ior_emit *emit)
{
    struct ior__datagram *dg = ior__datagram_of(res);
    const struct ior_runtime *rt = res->cx->rt;
    (void)emit;
    if (io & IOR_ERR)
        (void)ior__datagram_take_errors(dg);
    for (uint32_t reads = rt->budget_reads; reads > 0 && goes_on(res); reads--) {
        if (dg->held) {
            tell_held(dg);
            continue;
        }
        int asked = dg->asks;
        int n = receive(dg, asked);
        if (n == -EAGAIN)
            return IOR_IO_DONE;
        if (n == -EINTR)
            continue;
        if (n == -ENOMEM || n == -ENOBUFS) {
            ior__backoff(res, -n);
            return IOR_IO_DONE;
        }
        if (n < 0 && !is_of_a_send(n))
            return n;
        if (n < 0) {
            if (ior__datagram_take_errors(dg) == 0)
                ior__datagram_tell_error(dg, -n, NULL);
            continue;
        }
        adapt(dg, n);
        deliver(dg, n);
        if (n < asked)
            return IOR_IO_DONE;
    }
    /* The engine tells again what is left, being level-triggered, where it still watches. */
    return (res->bits & IOR__IN_SET) && !dg->held ? IOR_IO_DONE : goes_on(res) ? IOR_IO_MORE : IOR_IO_DONE;
}

/* ---- the end ---- */

/* Never called: the queue is written by ior__datagram_write_out. It says that there is one. */
static ssize_t write_some(struct ior_resource *res, const struct iovec *iov, int n)
{
    (void)res;
    (void)iov;
    (void)n;
    return -EOPNOTSUPP;
}

static void destroy(struct ior_resource *res)
{
    struct ior__datagram *dg = ior__datagram_of(res);
    const struct ior_os *os = dg->os;
    if (dg->path)
        ior__path_remove(os, dg->path, dg->dev, dg->ino);
    if (res->fd >= 0 && !(res->bits & IOR__LOST))
        os->close(os->arg, res->fd);
    if (dg->path)
        ior__free(dg->path, dg->path_len + (size_t)1);
    held_free(dg);
    ior__free(dg, sizeof(*dg));
}

static const struct ior__kind kind = {
    .told = true,
    .enter = ior__datagram_attach,
    .holds = holds,
    .discarded = discarded,
    .marks = marks,
    .let_go = ior__datagram_forget_path,
};

const struct ior_resource_ops ior__datagram_ops = {
    .struct_size = sizeof(struct ior_resource_ops),
    .name = "datagram",
    .interests = interests,
    .handle_io = handle_io,
    .write = write_some,
    .destroy = destroy,
    .reserved = &kind,
};
