/* SPDX-License-Identifier: Apache-2.0 */
/* System calls that make, name and end sockets, as Linux answers them. */
#include "os_calls.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

#define BACKLOG_MOST 4096

static bool is_socket(const struct file *file)
{
    return file->kind == FILE_LISTENER || file->kind == FILE_DATAGRAM ||
           (file->kind == FILE_STREAM && (file->end->kind == END_TCP || file->end->kind == END_UNIX));
}

/* The beginning of a call on a socket. */
static int begin(struct call *call, void *arg, enum ior_sim_call kind, int fd)
{
    int err = ior__call_begin(call, arg, kind, fd);
    return err == 0 && !is_socket(call->file) ? -ENOTSOCK : err;
}

static int finish(struct call *call, int result)
{
    return (int)ior__call_end(call, result);
}

/* ---- making ---- */

static enum family family_of(int domain)
{
    return domain == AF_UNIX ? FAMILY_UNIX : domain == AF_INET ? FAMILY_V4 : FAMILY_V6;
}

static int new_socket(struct call *call, int domain, int type)
{
    struct node *node = call->node;
    if (domain != AF_INET && domain != AF_INET6 && domain != AF_UNIX)
        return -EAFNOSUPPORT;
    if ((type & 15) != SOCK_STREAM && (type & 15) != SOCK_DGRAM)
        return -EPROTONOSUPPORT;
    if (ior__fds_full(node->sim, node->host))
        return -EMFILE;
    bool datagrams = (type & 15) == SOCK_DGRAM;
    struct file *file = ior__file_new(node->sim, node->host, datagrams ? FILE_DATAGRAM : FILE_STREAM);
    file->nonblock = true;
    if (datagrams) {
        file->box = ior__box_new(node->sim, node->host, family_of(domain), file);
        return ior__fd_new(node->sim, file, false);
    }
    file->end = ior__end_new(node->sim, domain == AF_UNIX ? END_UNIX : END_TCP, node->host);
    file->end->owner = file;
    file->end->local = (struct where){.host = node->host, .any = true, .family = (uint8_t)family_of(domain)};
    return ior__fd_new(node->sim, file, false);
}

int ior__sim_os_socket(void *arg, int domain, int type, int protocol)
{
    struct call call;
    (void)protocol;
    ior__call_begin(&call, arg, IOR_SIM_SOCKET, 0);
    call.a = domain == AF_INET ? 4 : domain == AF_INET6 ? 6 : 1;
    int err = ior__call_fault(&call, 0);
    int fd = err < 0 ? err : new_socket(&call, domain, type);
    if (fd >= 0)
        call.fd = fd;
    finish(&call, fd < 0 ? fd : 0);
    return fd;
}

static int bind_box(struct call *call, const struct ior_addr *addr, const struct listener *like)
{
    struct where where;
    if (!ior__where_of(call->node->sim, (int)call->node->host, addr, &where))
        return -EAFNOSUPPORT;
    int err = ior__box_bind(call->node->sim, call->file->box, &where, like);
    where = call->file->box->local;
    call->a = where.family == FAMILY_UNIX ? where.path : where.port;
    call->b = where.host;
    return err;
}

static int bind_end(struct call *call, const struct ior_addr *addr)
{
    struct node *node = call->node;
    struct file *file = call->file;
    struct where where;
    const struct listener like = {
        .owner = file, .reuse_port = file->reuse_port, .reuse_addr = file->reuse_addr, .v6_only = file->v6_only};
    if (file->kind == FILE_DATAGRAM)
        return bind_box(call, addr, &like);
    if (file->bound || file->kind != FILE_STREAM || file->end->state != END_NEW)
        return -EINVAL;
    if (!ior__where_of(node->sim, (int)node->host, addr, &where) || where.family != file->end->local.family)
        return -EAFNOSUPPORT;
    int err = ior__bound_new(node->sim, node->host, &where, &like, &file->bound);
    call->a = where.family == FAMILY_UNIX ? where.path : where.port;
    call->b = where.host;
    if (err == 0)
        file->end->local = where;
    return err;
}

int ior__sim_os_bind(void *arg, int fd, const struct ior_addr *addr)
{
    struct call call;
    int err = begin(&call, arg, IOR_SIM_BIND, fd);
    if (err == 0)
        err = ior__call_fault(&call, 0);
    if (err == 0)
        err = bind_end(&call, addr);
    return finish(&call, err);
}

static bool listened(const struct ior_sim *sim, const struct listener *bound)
{
    const struct where *at = &bound->where;
    for (uint32_t i = 0; i < sim->bounds_n; i++) {
        const struct listener *other = sim->bounds[i];
        if (other != bound && other->listening && at->family != FAMILY_UNIX && other->where.family == at->family &&
            other->where.host == at->host && other->where.port == at->port && other->where.any == at->any &&
            other->where.loop == at->loop && !(other->reuse_port && bound->reuse_port))
            return true;
    }
    return false;
}

static int listen_end(struct call *call, int backlog)
{
    struct node *node = call->node;
    struct file *file = call->file;
    if (file->kind == FILE_DATAGRAM)
        return -EOPNOTSUPP;
    if (file->kind == FILE_STREAM && file->end->state != END_NEW)
        return -EINVAL;
    if (!file->bound) {
        const struct listener like = {.owner = file};
        struct where where = file->end->local;
        if (where.family == FAMILY_UNIX)
            return -EINVAL;
        int err = ior__bound_new(node->sim, node->host, &where, &like, &file->bound);
        if (err < 0)
            return err;
    }
    if (listened(node->sim, file->bound))
        return -EADDRINUSE;
    file->bound->listening = true;
    file->bound->backlog = (uint32_t)(backlog < 0 ? 0 : backlog > BACKLOG_MOST ? BACKLOG_MOST : backlog);
    if (file->kind == FILE_STREAM)
        ior__end_forget(node->sim, file->end);
    file->kind = FILE_LISTENER;
    file->end = NULL;
    ior__watches_look(file, node->sim);
    return 0;
}

int ior__sim_os_listen(void *arg, int fd, int backlog)
{
    struct call call;
    int err = begin(&call, arg, IOR_SIM_LISTEN, fd);
    call.a = (uint64_t)(int64_t)backlog;
    if (err == 0)
        err = ior__call_fault(&call, 0);
    if (err == 0)
        err = listen_end(&call, backlog);
    return finish(&call, err);
}

static int accept_end(struct call *call, struct ior_addr *peer)
{
    struct node *node = call->node;
    if (call->file->kind == FILE_DATAGRAM)
        return -EOPNOTSUPP;
    if (call->file->kind != FILE_LISTENER)
        return -EINVAL;
    if (ior__fds_full(node->sim, node->host))
        return -EMFILE;
    struct end *end = ior__listener_next(node->sim, call->file->bound);
    if (!end)
        return -EAGAIN;
    struct file *file = ior__file_new(node->sim, node->host, FILE_STREAM);
    file->nonblock = true;
    file->no_delay = call->file->no_delay;
    file->end = end;
    end->owner = file;
    call->b = end->conn;
    if (peer)
        ior__where_addr(node->sim, &end->remote, peer);
    return ior__fd_new(node->sim, file, false);
}

int ior__sim_os_accept(void *arg, int fd, struct ior_addr *peer)
{
    struct call call;
    int err = begin(&call, arg, IOR_SIM_ACCEPT, fd);
    if (err == 0)
        err = ior__call_fault(&call, 0);
    int conn = err < 0 ? err : accept_end(&call, peer);
    finish(&call, conn < 0 ? conn : conn - IOR_SIM_FD_FIRST);
    return conn;
}

static int connect_end(struct call *call, const struct ior_addr *addr)
{
    struct ior_sim *sim = call->node->sim;
    struct file *file = call->file;
    struct where to;
    if (file->kind == FILE_DATAGRAM) {
        if (!ior__where_of(sim, (int)call->node->host, addr, &to))
            return -EAFNOSUPPORT;
        call->a = to.family == FAMILY_UNIX ? to.path : to.port;
        call->b = to.host;
        return ior__box_connect(sim, file->box, &to);
    }
    if (file->kind != FILE_STREAM)
        return -EISCONN; /* a listener */
    if (file->end->state == END_CONNECTING)
        return -EALREADY;
    if (file->end->state != END_NEW)
        return -EISCONN;
    if (!ior__where_of(sim, (int)call->node->host, addr, &to) || to.family != file->end->local.family)
        return -EAFNOSUPPORT;
    call->a = to.family == FAMILY_UNIX ? to.path : to.port;
    call->b = to.host;
    return ior__end_connect(sim, file->end, &to, ior__chance(sim, sim->config.rates.connect_now));
}

int ior__sim_os_connect(void *arg, int fd, const struct ior_addr *addr)
{
    struct call call;
    int err = begin(&call, arg, IOR_SIM_CONNECT, fd);
    if (err == 0)
        err = ior__call_fault(&call, 0);
    if (err == 0)
        err = connect_end(&call, addr);
    if (call.late_error && err < 0 && err != -EINPROGRESS)
        call.late_error = 0; /* it failed before a signal could come */
    return finish(&call, err);
}

/* ---- names ---- */

static const struct where *local_of(const struct file *file)
{
    if (file->kind == FILE_DATAGRAM)
        return &file->box->local;
    return file->bound ? &file->bound->where : &file->end->local;
}

int ior__sim_os_getsockname(void *arg, int fd, struct ior_addr *addr)
{
    struct call call;
    int err = begin(&call, arg, IOR_SIM_GETSOCKNAME, fd);
    if (err == 0)
        err = ior__call_fault(&call, 0);
    if (err == 0)
        ior__where_addr(call.node->sim, local_of(call.file), addr);
    return finish(&call, err);
}

static bool has_peer(const struct file *file)
{
    return file->kind == FILE_DATAGRAM ? file->box->connected
                                       : file->kind == FILE_STREAM && file->end->state == END_OPEN;
}

int ior__sim_os_getpeername(void *arg, int fd, struct ior_addr *addr)
{
    struct call call;
    int err = begin(&call, arg, IOR_SIM_GETPEERNAME, fd);
    if (err == 0)
        err = ior__call_fault(&call, 0);
    if (err == 0 && !has_peer(call.file))
        err = -ENOTCONN;
    if (err == 0)
        ior__where_addr(call.node->sim, call.file->box ? &call.file->box->remote : &call.file->end->remote, addr);
    return finish(&call, err);
}

/* ---- options ---- */

/* Names for the trace: their numbers are the system's. */
static uint64_t option_number(int level, int name)
{
    if (level == IPPROTO_TCP)
        return name == TCP_NODELAY ? 1 : 2;
    if (level == IPPROTO_IP)
        return name == IP_PKTINFO ? 6 : 7;
    if (level == IPPROTO_IPV6 && name == IPV6_RECVPKTINFO)
        return 8;
    if (level == IPPROTO_IPV6)
        return name == IPV6_V6ONLY ? 3 : 4;
    if (level != SOL_SOCKET)
        return 5;
    switch (name) {
    case SO_ERROR:
        return 10;
    case SO_REUSEADDR:
        return 11;
    case SO_REUSEPORT:
        return 12;
    case SO_LINGER:
        return 13;
    case SO_KEEPALIVE:
        return 14;
    case SO_BROADCAST:
        return 16;
    default:
        return 15;
    }
}

static int socket_error(struct file *file)
{
    if (file->kind == FILE_DATAGRAM)
        return ior__box_error(file->box);
    int error = file->kind == FILE_STREAM ? file->end->error : 0;
    if (error)
        file->end->error = 0;
    return error;
}

static int socket_domain(const struct file *file)
{
    int family = local_of(file)->family;
    return family == FAMILY_UNIX ? AF_UNIX : family == FAMILY_V4 ? AF_INET : AF_INET6;
}

static bool is_unix(const struct file *file)
{
    return socket_domain(file) == AF_UNIX;
}

static int option_get(struct file *file, int level, int name, int *value)
{
    if (level == IPPROTO_TCP && name == TCP_NODELAY && !is_unix(file)) {
        *value = file->no_delay;
        return 0;
    }
    if (level == IPPROTO_IPV6 && name == IPV6_V6ONLY && socket_domain(file) == AF_INET6) {
        *value = file->v6_only;
        return 0;
    }
    if (level != SOL_SOCKET)
        return is_unix(file) ? -EOPNOTSUPP : -ENOPROTOOPT;
    switch (name) {
    case SO_ERROR:
        *value = socket_error(file);
        return 0;
    case SO_TYPE:
        *value = file->kind == FILE_DATAGRAM ? SOCK_DGRAM : SOCK_STREAM;
        return 0;
    case SO_ACCEPTCONN:
        *value = file->kind == FILE_LISTENER;
        return 0;
    case SO_REUSEADDR:
        *value = file->reuse_addr;
        return 0;
    case SO_REUSEPORT:
        *value = file->reuse_port;
        return 0;
    case SO_KEEPALIVE:
        *value = file->keep_alive;
        return 0;
    case SO_SNDBUF:
    case SO_RCVBUF:
        *value = (int)(file->kind == FILE_STREAM ? file->end->limit : 65536);
        return 0;
#if defined(SO_DOMAIN)
    case SO_DOMAIN:
        *value = socket_domain(file);
        return 0;
#endif
    default:
        return -ENOPROTOOPT;
    }
}

int ior__sim_os_getsockopt(void *arg, int fd, int level, int name, void *value, uint32_t *len)
{
    struct call call;
    int is = 0;
    int err = begin(&call, arg, IOR_SIM_GETSOCKOPT, fd);
    call.a = option_number(level, name);
    if (err == 0)
        err = ior__call_fault(&call, 0);
    if (err == 0)
        err = option_get(call.file, level, name, &is);
    if (err == 0) {
        *len = *len < sizeof(is) ? *len : (uint32_t)sizeof(is);
        memcpy(value, &is, *len);
        call.b = name == SO_ERROR ? 0 : (uint64_t)(int64_t)is;
    }
    return finish(&call, err);
}

static int linger_set(struct file *file, const void *value, uint32_t len)
{
    struct linger linger;
    if (len < sizeof(linger))
        return -EINVAL;
    memcpy(&linger, value, sizeof(linger));
    file->linger = linger.l_onoff != 0;
    file->linger_s = (uint8_t)(linger.l_linger < 0 || linger.l_linger > 255 ? 255 : linger.l_linger);
    return 0;
}

static int box_option_set(struct box *box, int level, int name, bool on)
{
    bool local = (level == IPPROTO_IP && name == IP_PKTINFO) || (level == IPPROTO_IPV6 && name == IPV6_RECVPKTINFO);
#if defined(IP_RECVERR)
    bool errors = (level == IPPROTO_IP && name == IP_RECVERR) || (level == IPPROTO_IPV6 && name == IPV6_RECVERR);
    if (errors) {
        box->asks_errors = on;
        return 0;
    }
#endif
    if (!local)
        return -ENOPROTOOPT;
    box->asks_local = on;
    return 0;
}

static int option_set(struct file *file, int level, int name, bool on)
{
    bool v6_only = level == IPPROTO_IPV6 && name == IPV6_V6ONLY;
    if (file->kind == FILE_DATAGRAM && level != SOL_SOCKET && !is_unix(file) && !v6_only)
        return box_option_set(file->box, level, name, on);
    if (level == IPPROTO_TCP && !is_unix(file)) {
        file->no_delay = name == TCP_NODELAY ? on : file->no_delay;
        return 0;
    }
    if (v6_only && socket_domain(file) == AF_INET6) {
        file->v6_only = on;
        return 0;
    }
    if (level != SOL_SOCKET)
        return is_unix(file) ? -EOPNOTSUPP : -ENOPROTOOPT;
    switch (name) {
    case SO_REUSEADDR:
        file->reuse_addr = on;
        return 0;
    case SO_REUSEPORT:
        file->reuse_port = on;
        return 0;
    case SO_KEEPALIVE:
        file->keep_alive = on;
        return 0;
    case SO_SNDBUF:
    case SO_RCVBUF:
    case SO_BROADCAST:
        return 0;
    default:
        return -ENOPROTOOPT;
    }
}

int ior__sim_os_setsockopt(void *arg, int fd, int level, int name, const void *value, uint32_t len)
{
    struct call call;
    int is = 0;
    int err = begin(&call, arg, IOR_SIM_SETSOCKOPT, fd);
    call.a = option_number(level, name);
    if (err == 0)
        err = ior__call_fault(&call, 0);
    if (err == 0 && len < sizeof(is))
        err = -EINVAL;
    if (err == 0 && level == SOL_SOCKET && name == SO_LINGER) {
        err = linger_set(call.file, value, len);
    } else if (err == 0) {
        memcpy(&is, value, sizeof(is));
        call.b = (uint64_t)(int64_t)is;
        err = option_set(call.file, level, name, is != 0);
    }
    return finish(&call, err);
}

/* ---- ending ---- */

static int shut(struct call *call, int how)
{
    struct ior_sim *sim = call->node->sim;
    if (call->file->kind != FILE_STREAM || call->file->end->state != END_OPEN)
        return -ENOTCONN;
    struct end *end = call->file->end;
    if (how == SHUT_WR || how == SHUT_RDWR)
        ior__end_fin(sim, end);
    if (how == SHUT_RD || how == SHUT_RDWR)
        end->read_shut = true;
    ior__end_changed(sim, end, IOR_READ | IOR_WRITE);
    return 0;
}

int ior__sim_os_shutdown(void *arg, int fd, int how)
{
    struct call call;
    int err = begin(&call, arg, IOR_SIM_SHUTDOWN, fd);
    call.a = how == SHUT_RD ? 0 : how == SHUT_WR ? 1 : 2;
    if (err == 0)
        err = ior__call_fault(&call, 0);
    if (err == 0)
        err = shut(&call, how);
    return finish(&call, err);
}
