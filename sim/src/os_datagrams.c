/* SPDX-License-Identifier: Apache-2.0 */
/* System calls that move datagrams, as Linux answers them. */
#include "os_calls.h"

#include <string.h>

static int begin(struct call *call, void *arg, enum ior_sim_call kind, int fd)
{
    int err = ior__call_begin(call, arg, kind, fd);
    if (err < 0)
        return err;
    if (!call->file->nonblock)
        ior__violate(call->node->sim, IOR_SIM_BLOCKING, "%s of fd %d", ior_sim_call_name(kind), fd - IOR_SIM_FD_FIRST);
    return call->file->kind == FILE_DATAGRAM ? 0 : -ENOTSOCK;
}

/* So many of the datagrams that could be moved; a fault makes them fewer. */
static int shortened(struct call *call, int most)
{
    return call->short_of && most > 1 ? 1 + (int)ior_sim_choose(call->node->sim, (uint64_t)most - 1) : most;
}

/* Puts an address where the caller has room. */
static uint32_t put_addr(const struct ior_sim *sim, const struct where *where, void *room, uint32_t len)
{
    struct ior_addr addr;
    ior__where_addr(sim, where, &addr);
    if (where->family == FAMILY_UNIX && where->path == 0)
        return 0; /* it has no name */
    uint32_t n = addr.len < len ? addr.len : len;
    memcpy(room, addr.raw, n);
    return n;
}

static bool get_addr(const struct call *call, const void *bytes, uint32_t len, struct where *ret)
{
    struct ior_addr addr = {.len = len};
    if (len > sizeof(addr.raw))
        return false;
    memcpy(addr.raw, bytes, len);
    return ior__where_of(call->node->sim, (int)call->node->host, &addr, ret);
}

static void put(const struct call *call, const struct taken *from, struct ior_os_datagram *to)
{
    const struct ior_sim *sim = call->node->sim;
    struct where local = from->local;
    local.port = 0;
    to->len = from->len;
    to->truncated = from->truncated;
    to->error = from->error;
    to->interface = 0;
    if (to->peer)
        to->peer_len = put_addr(sim, &from->peer, to->peer, to->peer_len);
    if (to->local && call->file->box->asks_local && from->error == 0) {
        to->local_len = put_addr(sim, &local, to->local, to->local_len);
        to->interface = local.loop ? 1 : 2;
    } else {
        to->local_len = 0;
    }
}

int ior__sim_os_recv_datagrams(void *arg, int fd, struct ior_os_datagram *datagrams, int n)
{
    struct call call;
    int err = begin(&call, arg, IOR_SIM_RECV_DATAGRAMS, fd);
    call.a = (uint64_t)(int64_t)n;
    if (err < 0)
        return (int)ior__call_end(&call, err);
    struct box *box = call.file->box;
    int most = box->in.count < (uint32_t)n ? (int)box->in.count : n;
    err = ior__call_fault(&call, (uint64_t)most);
    if (err == 0)
        err = -ior__box_error(box);
    if (err == 0 && most == 0)
        err = -EAGAIN;
    if (err < 0)
        return (int)ior__call_end(&call, err);
    most = shortened(&call, most);
    for (int i = 0; i < most; i++) {
        struct taken taken = {.bytes = datagrams[i].bytes, .len = datagrams[i].len};
        (void)ior__box_take(call.node->sim, box, &taken);
        call.b = ior_sim_sum(call.b, taken.bytes, taken.len) + taken.len;
        put(&call, &taken, &datagrams[i]);
    }
    return (int)ior__call_end(&call, most);
}

static int send_one(const struct call *call, const struct ior_os_datagram *datagram)
{
    struct where to, from;
    if (datagram->peer && !get_addr(call, datagram->peer, datagram->peer_len, &to))
        return -EAFNOSUPPORT;
    if (datagram->local && !get_addr(call, datagram->local, datagram->local_len, &from))
        return -EINVAL;
    return ior__box_send(call->node->sim, call->file->box, datagram->peer ? &to : NULL, datagram->local ? &from : NULL,
                         datagram->bytes, datagram->len);
}

int ior__sim_os_send_datagrams(void *arg, int fd, struct ior_os_datagram *datagrams, int n)
{
    struct call call;
    int err = begin(&call, arg, IOR_SIM_SEND_DATAGRAMS, fd);
    call.a = (uint64_t)(int64_t)n;
    if (err == 0)
        err = ior__call_fault(&call, (uint64_t)n);
    int most = err < 0 ? 0 : shortened(&call, n), done = 0;
    while (done < most && (err = send_one(&call, &datagrams[done])) == 0) {
        call.b = ior_sim_sum(call.b, datagrams[done].bytes, datagrams[done].len) + datagrams[done].len;
        done++;
    }
    if (done > 0)
        ior__watches_look(call.file, call.node->sim);
    return (int)ior__call_end(&call, done > 0 ? done : err);
}

int ior__sim_os_recv_error(void *arg, int fd, struct ior_os_datagram *datagram)
{
    struct call call;
    int err = begin(&call, arg, IOR_SIM_RECV_ERROR, fd);
    if (err == 0)
        err = ior__call_fault(&call, 0);
    struct taken taken = {.bytes = datagram->bytes, .len = datagram->len};
    if (err == 0 && !ior__box_take_error(call.file->box, &taken))
        err = -EAGAIN;
    if (err == 0) {
        call.b = taken.len;
        put(&call, &taken, datagram);
        ior__watches_look(call.file, call.node->sim);
    }
    return (int)ior__call_end(&call, err);
}
