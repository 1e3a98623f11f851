/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where datagram sockets come from: options, ior_datagram_open, ior_datagram_adopt; and their multicast groups. A
 * runtime has one set of buffers for all of them, reserved here, so that receiving needs no memory.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#if defined(__APPLE__) && !defined(__APPLE_USE_RFC_3542)
#define __APPLE_USE_RFC_3542
#endif
#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "datagram.h"
#include "kinds.h"

#define PATH_AT offsetof(struct sockaddr_un, sun_path)
#define FIRST_ASKS 2
#define APART 192 /* between buffers, so that their first bytes are not all in the same lines of a cache */

/* ---- the runtime's buffers ---- */

void ior__datagrams_free(struct ior_runtime *rt)
{
    struct ior__datagrams *in = rt->datagrams;
    if (!in)
        return;
    ior__free(in->bytes, in->size);
    ior__free(in, sizeof(*in));
    rt->datagrams = NULL;
}

void ior__datagrams_lend(struct ior__datagrams *in)
{
    in->lent = in->bytes;
    in->lent_size = in->size;
}

void ior__datagrams_lent(struct ior__datagrams *in)
{
    if (in->lent != in->bytes)
        ior__free(in->lent, in->lent_size);
    in->lent = NULL;
}

/* Room for a receive of the most datagrams of that length. */
static int reserve(struct ior_runtime *rt, uint32_t max_bytes)
{
    size_t size = (((size_t)max_bytes + 63) / 64 * 64 + APART) * IOR_OS_DATAGRAMS;
    struct ior__datagrams *in = rt->datagrams;
    if (in && in->size >= size)
        return 0;
    struct ior__datagrams *made = in ? in : ior__calloc(sizeof(*made));
    unsigned char *bytes = ior__alloc(size);
    if (!made || !bytes) {
        if (bytes)
            ior__free(bytes, size);
        if (!in && made)
            ior__free(made, sizeof(*made));
        return -ENOMEM;
    }
    if (in && in->bytes != in->lent)
        ior__free(in->bytes, in->size);
    made->bytes = bytes;
    made->size = size;
    rt->datagrams = made;
    return 0;
}

int ior__datagram_attach(struct ior_context *cx, struct ior_resource *res, ior_id *ret_id)
{
    int err = reserve(cx->rt, ior__datagram_of(res)->max_bytes);
    return err < 0 ? err : ior__attach_resource(cx, res, IOR__TELL_REGISTERED, ret_id);
}

/* ---- options ---- */

static bool options_valid(struct ior_datagram_options *in, struct ior__marks *marks)
{
    const uint64_t most = SIZE_MAX < INT64_MAX ? SIZE_MAX / 4 : INT64_MAX / 8;
    in->max_bytes = in->max_bytes ? in->max_bytes : IOR_DATAGRAM_MAX_BYTES;
    marks->high = in->high_bytes ? in->high_bytes : IOR_HIGH_BYTES_DEFAULT;
    marks->low = in->low_bytes ? in->low_bytes : marks->high / 4;
    if (marks->high > most || in->max_bytes > INT32_MAX / (2 * IOR_OS_DATAGRAMS))
        return false;
    marks->cap = in->cap_bytes ? in->cap_bytes : marks->high + in->max_bytes;
    return marks->low <= marks->high && marks->cap >= marks->high + in->max_bytes && marks->cap <= most &&
           !(in->unix_mode & ~0777u) && in->multicast_hops <= 255 && in->receive_buffer_bytes <= INT32_MAX &&
           in->send_buffer_bytes <= INT32_MAX;
}

static int set(const struct ior_os *os, int fd, int level, int name, int value)
{
    return os->setsockopt(os->arg, fd, level, name, &value, sizeof(value));
}

/* For IPv4 too, where an IPv6 socket hears it. */
static int set_tell_local(const struct ior_os *os, int fd, int family)
{
#if defined(IP_PKTINFO)
    int err = set(os, fd, IPPROTO_IP, IP_PKTINFO, 1);
#else
    int err = -EOPNOTSUPP;
#endif
    return family == AF_INET6 ? set(os, fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1) : err;
}

/* The system keeps ICMP errors in a queue, with the peer each is about. Where it cannot, it still tells the errors. */
static void ask_for_errors(const struct ior_os *os, int fd, int family)
{
#if defined(IP_RECVERR) && defined(IPV6_RECVERR)
    (void)set(os, fd, IPPROTO_IP, IP_RECVERR, 1);
    if (family == AF_INET6)
        (void)set(os, fd, IPPROTO_IPV6, IPV6_RECVERR, 1);
#else
    (void)os;
    (void)fd;
    (void)family;
#endif
}

static int set_multicast(const struct ior_os *os, int fd, int family, const struct ior_datagram_options *in)
{
    bool six = family == AF_INET6;
    int level = six ? IPPROTO_IPV6 : IPPROTO_IP;
    int err = 0;
    if (in->multicast_no_loop)
        err = set(os, fd, level, six ? IPV6_MULTICAST_LOOP : IP_MULTICAST_LOOP, 0);
    if (err == 0 && in->multicast_hops)
        err = set(os, fd, level, six ? IPV6_MULTICAST_HOPS : IP_MULTICAST_TTL, (int)in->multicast_hops);
    if (err < 0 || !in->multicast_interface)
        return err;
    if (six)
        return set(os, fd, level, IPV6_MULTICAST_IF, (int)in->multicast_interface);
    struct ip_mreqn mreq = {.imr_ifindex = (int)in->multicast_interface};
    return os->setsockopt(os->arg, fd, level, IP_MULTICAST_IF, &mreq, sizeof(mreq));
}

static int set_options(const struct ior_os *os, struct ior__datagram *dg, const struct ior_datagram_options *in)
{
    int fd = dg->base.fd;
    int err = 0;
    if (in->receive_buffer_bytes)
        err = set(os, fd, SOL_SOCKET, SO_RCVBUF, (int)in->receive_buffer_bytes);
    if (err == 0 && in->send_buffer_bytes)
        err = set(os, fd, SOL_SOCKET, SO_SNDBUF, (int)in->send_buffer_bytes);
    if (err == 0 && in->reuse_addr)
        err = set(os, fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (err == 0 && in->reuse_port)
        err = set(os, fd, SOL_SOCKET, SO_REUSEPORT, 1);
    if (err < 0 || dg->family == AF_UNIX)
        return err;
    if (dg->family == AF_INET6)
        err = set(os, fd, IPPROTO_IPV6, IPV6_V6ONLY, in->v6_only);
    if (err == 0 && in->broadcast)
        err = set(os, fd, SOL_SOCKET, SO_BROADCAST, 1);
    return err == 0 ? set_multicast(os, fd, dg->family, in) : err;
}

/* What an adopted socket is told, too. */
static int set_telling(const struct ior_os *os, struct ior__datagram *dg, const struct ior_datagram_options *in)
{
    if (dg->family == AF_UNIX)
        return 0;
    if (!in->ignore_errors)
        ask_for_errors(os, dg->base.fd, dg->family);
    if (!in->tell_local)
        return 0;
    dg->tells_local = true;
    return set_tell_local(os, dg->base.fd, dg->family);
}

/* ---- opening ---- */

static int family_of(const struct ior_addr *addr)
{
    struct sockaddr family;
    if (addr->len < sizeof(sa_family_t) || addr->len > sizeof(addr->raw))
        return AF_UNSPEC;
    memcpy(&family, addr->raw, sizeof(family));
    return family.sa_family;
}

static int keep_path(struct ior__datagram *dg, const struct ior_addr *addr)
{
    if (dg->family != AF_UNIX || addr->len <= PATH_AT || addr->raw[PATH_AT] == 0)
        return 0;
    size_t len = strnlen((const char *)addr->raw + PATH_AT, addr->len - PATH_AT);
    dg->path = ior__calloc(len + 1);
    if (!dg->path)
        return -ENOMEM;
    memcpy(dg->path, addr->raw + PATH_AT, len);
    dg->path_len = (uint32_t)len;
    return 0;
}

void ior__datagram_forget_path(struct ior_resource *res)
{
    struct ior__datagram *dg = ior__datagram_of(res);
    if (dg->path)
        ior__free(dg->path, dg->path_len + (size_t)1);
    dg->path = NULL;
}

/*
 * Binds. What is bound at a path is removed with the socket; where this fails, it is removed here.
 *
 * Whoever may write to the path can send from bind(2) on: there is no listen(2) to hold back. Linux makes the path with
 * the mode of the socket itself, less the umask, so that is set first; what the umask took is given back afterwards.
 * Systems whose sockets have no mode (EINVAL) know only the second step.
 */
static int bind_local(const struct ior_os *os, struct ior__datagram *dg, const struct ior_addr *local,
                      const struct ior_datagram_options *in)
{
    int err = keep_path(dg, local);
    if (err == 0 && dg->path && in->unix_mode && os->fd_chmod)
        (void)os->fd_chmod(os->arg, dg->base.fd, in->unix_mode);
    if (err == 0)
        err = ior__bind(os, dg->base.fd, local, dg->path, SOCK_DGRAM);
    if (err < 0 || !dg->path) {
        if (err < 0)
            ior__datagram_forget_path(&dg->base); /* it is not ours */
        return err;
    }
    err = ior__path_bound(os, dg->path, in->unix_mode, &dg->dev, &dg->ino);
    if (err < 0)
        ior__datagram_forget_path(&dg->base);
    return err;
}

/* Everything behind socket(2). */
static int set_up(const struct ior_os *os, struct ior__datagram *dg, const struct ior_addr *local,
                  const struct ior_datagram_options *in)
{
    int err = set_options(os, dg, in);
    if (err == 0)
        err = set_telling(os, dg, in);
    if (err == 0 && local)
        err = bind_local(os, dg, local, in);
    if (err == 0 && in->peer) {
        do {
            err = os->connect(os->arg, dg->base.fd, in->peer);
        } while (err == -EINTR);
        dg->connected = true;
        dg->peer = *in->peer;
    }
    return err == 0 ? os->getsockname(os->arg, dg->base.fd, &dg->bound) : err;
}

static struct ior__datagram *datagram_new(const struct ior_os *os, int fd, int family,
                                          const struct ior_datagram_options *in, const struct ior__marks *marks)
{
    struct ior__datagram *dg = ior__calloc(sizeof(*dg));
    if (!dg)
        return NULL;
    dg->base.ops = &ior__datagram_ops;
    dg->base.fd = fd;
    dg->base.user = in->user;
    dg->base.bits = in->read_when_full ? (uint32_t)IOR__FULL_READS : 0u;
    dg->os = os;
    dg->marks = *marks;
    dg->max_bytes = in->max_bytes;
    dg->family = family;
    dg->asks = FIRST_ASKS;
    return dg;
}

/* The checks of both; fills in the options. */
static int begin(struct ior_context *cx, const struct ior_datagram_options *opts, ior_id *ret_id,
                 struct ior_datagram_options *in, struct ior__marks *marks)
{
    int err = ior__enter(cx);
    if (err < 0)
        return err;
    if (!ret_id)
        return -EINVAL;
    err = ior__may_register(cx);
    if (err == 0)
        err = ior__struct_in(in, sizeof(*in), opts, sizeof(*in));
    if (err < 0)
        return err;
    if (!options_valid(in, marks))
        return -EINVAL;
    const struct ior_os *os = cx->rt->os;
    return os->recv_datagrams && os->send_datagrams ? 0 : -ENOSYS;
}

int ior_datagram_open(struct ior_context *cx, const struct ior_addr *local, const struct ior_datagram_options *opts,
                      ior_id *ret_id)
{
    struct ior_datagram_options in;
    struct ior__marks marks;
    int err = begin(cx, opts, ret_id, &in, &marks);
    if (err < 0)
        return err;
    if (!local && !in.peer)
        return -EINVAL;
    int family = family_of(local ? local : in.peer);
    if ((family != AF_INET && family != AF_INET6 && family != AF_UNIX) || (in.peer && family_of(in.peer) != family))
        return -EAFNOSUPPORT;
    const struct ior_os *os = cx->rt->os;
    struct ior__datagram *dg = datagram_new(os, -1, family, &in, &marks);
    if (!dg)
        return -ENOMEM;
    dg->base.fd = os->socket(os->arg, family, SOCK_DGRAM, 0);
    err = dg->base.fd < 0 ? dg->base.fd : set_up(os, dg, local, &in);
    if (err == 0)
        err = ior__datagram_attach(cx, &dg->base, ret_id);
    if (err < 0)
        ior_resource_free(&dg->base);
    return err;
}

/* What the socket is: its family, or why it cannot be taken. */
static int adoptable(const struct ior_os *os, int fd, struct ior_addr *bound)
{
    int kind = fd < 0 ? -EBADF : os->fd_kind(os->arg, fd);
    int type = 0;
    uint32_t len = sizeof(type);
    if (kind < 0)
        return kind;
    if ((kind & IOR_FD_KIND_MASK) != IOR_FD_SOCKET)
        return -EPROTOTYPE;
    int err = os->getsockopt(os->arg, fd, SOL_SOCKET, SO_TYPE, &type, &len);
    if (err == 0)
        err = os->getsockname(os->arg, fd, bound);
    if (err < 0)
        return err;
    int family = family_of(bound);
    if (type != SOCK_DGRAM)
        return -EPROTOTYPE;
    return family == AF_INET || family == AF_INET6 || family == AF_UNIX ? family : -EAFNOSUPPORT;
}

int ior_datagram_adopt(struct ior_context *cx, int fd, const struct ior_datagram_options *opts, ior_id *ret_id)
{
    struct ior_datagram_options in;
    struct ior__marks marks;
    struct ior_addr bound = {.len = 0};
    int err = begin(cx, opts, ret_id, &in, &marks);
    if (err < 0)
        return err;
    if (in.peer)
        return -EINVAL;
    const struct ior_os *os = cx->rt->os;
    int family = adoptable(os, fd, &bound);
    if (family < 0)
        return family;
    struct ior__datagram *dg = datagram_new(os, fd, family, &in, &marks);
    if (!dg)
        return -ENOMEM;
    dg->bound = bound;
    dg->connected = os->getpeername(os->arg, fd, &dg->peer) == 0;
    int was = os->set_nonblock(os->arg, fd, true);
    err = was < 0 ? was : set_telling(os, dg, &in);
    if (err == 0)
        err = ior__datagram_attach(cx, &dg->base, ret_id);
    if (err < 0) {
        if (was == 0)
            (void)os->set_nonblock(os->arg, fd, false);
        dg->base.fd = -1;
        ior_resource_free(&dg->base);
    }
    return err;
}

/* ---- multicast ---- */

static int group(struct ior_context *cx, ior_id id, const struct ior_addr *addr, uint32_t interface, int name)
{
    struct ior_resource *res;
    int err = ior__find(cx, id, &res);
    if (err < 0)
        return err;
    if (!ior__is_datagram(res) || ior__datagram_of(res)->family == AF_UNIX)
        return -EOPNOTSUPP;
    if (!addr)
        return -EINVAL;
    int family = ior__datagram_of(res)->family;
    size_t least = family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
    if (family_of(addr) != family || addr->len < least)
        return -EAFNOSUPPORT;
    struct group_req req = {.gr_interface = interface};
    memcpy(&req.gr_group, addr->raw, least);
    const struct ior_os *os = cx->rt->os;
    return os->setsockopt(os->arg, res->fd, family == AF_INET6 ? IPPROTO_IPV6 : IPPROTO_IP, name, &req, sizeof(req));
}

int ior_multicast_join(struct ior_context *cx, ior_id id, const struct ior_addr *addr, uint32_t interface)
{
    return group(cx, id, addr, interface, MCAST_JOIN_GROUP);
}

int ior_multicast_leave(struct ior_context *cx, ior_id id, const struct ior_addr *addr, uint32_t interface)
{
    return group(cx, id, addr, interface, MCAST_LEAVE_GROUP);
}
