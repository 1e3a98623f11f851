/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes of a stream that come before what its fd has: those that the service gave back (ior_unread), and those that were
 * received, by the engine or along with fds, when nobody could be told: they are held, and read first.
 */
#include <errno.h>
#include <string.h>

#include "datagram.h"
#include "kinds.h"

static struct ior__stream *stream_of(const struct ior_resource *res)
{
    return (struct ior__stream *)(uintptr_t)res;
}

void ior__unread_free(struct ior__stream *stream)
{
    struct ior__unread *unread = stream->unread;
    if (!unread)
        return;
    unread->len = 0;
    if (unread->held)
        return;
    ior__free(unread, sizeof(*unread) + unread->capacity);
    stream->unread = NULL;
}

size_t ior__read_held(struct ior__stream *stream, void *bytes, size_t len)
{
    struct ior__unread *unread = stream->unread;
    struct ior__held *held = unread ? unread->held : NULL;
    if (!held)
        return 0;
    size_t n = held->len - held->at < len ? held->len - held->at : len;
    memcpy(bytes, held->bytes + held->at, n);
    held->at += n;
    if (held->at == held->len) {
        ior__free(held, sizeof(*held) + held->len);
        unread->held = NULL;
        if (unread->len == 0)
            ior__unread_free(stream);
    }
    return n;
}

bool ior__hold(struct ior__stream *stream, const void *bytes, size_t n)
{
    if (!stream->unread) {
        stream->unread = ior__calloc(sizeof(*stream->unread));
        if (!stream->unread)
            return false;
    }
    struct ior__held *held = stream->unread->held;
    size_t was = held ? held->len : 0;
    held = ior__realloc(held, held ? sizeof(*held) + was : 0, sizeof(*held) + was + n);
    if (!held)
        return false;
    if (was == 0)
        held->at = 0;
    memcpy(held->bytes + was, bytes, n);
    held->len = was + n;
    stream->unread->held = held;
    return true;
}

/* Bytes that nobody will ask for are only counted. A stream with a gap is none: after a lack of memory it has ended. */
int ior__stream_take_held(struct ior_resource *res)
{
    struct ior_runtime *rt = res->cx->rt;
    struct ior__stream *stream = stream_of(res);
    bool kept = res->cx->handler.handover_transport && !(res->bits & IOR__CLOSING);
    bool gap = false;
    ssize_t n;
    while ((n = rt->engine_ops->recv(rt->engine, res->fd, res->id, rt->read_at, rt->read_bytes)) > 0) {
        if (kept && !gap && ior__hold(stream, rt->read_at, (size_t)n))
            continue;
        stream->discarded += (uint64_t)n;
        gap = kept;
    }
    if (stream->unread && stream->unread->len == 0)
        ior__unread_free(stream);
    if (gap) {
        res->bits |= IOR__NO_READ;
        return -ENOMEM;
    }
    return n == -EAGAIN || n == -ENOMEM || n == -ENOBUFS ? 0 : (int)n; /* a want of memory passes: no end of a stream */
}

int ior_unread(struct ior_context *cx, ior_id id, size_t len)
{
    struct ior_resource *res;
    int err = ior__find(cx, id, &res);
    if (err < 0)
        return err;
    if (!(res->bits & IOR__STREAM))
        return -EOPNOTSUPP;
    const struct ior_event_data *lent = &cx->data_event.data;
    if (cx->lent_to != res || len > lent->len)
        return -EINVAL;
    struct ior__stream *stream = stream_of(res);
    if (len > stream->opts->unread_max)
        return -EMSGSIZE;
    struct ior__unread *unread = stream->unread;
    if (len > 0 && (!unread || unread->capacity < len)) {
        size_t old = unread ? sizeof(*unread) + unread->capacity : 0;
        unread = ior__realloc(unread, old, sizeof(*unread) + len);
        if (!unread)
            return -ENOMEM;
        if (old == 0)
            unread->held = NULL;
        unread->capacity = len;
        stream->unread = unread;
    }
    if (len == 0) {
        ior__unread_free(stream);
    } else {
        memcpy(unread->bytes, (const unsigned char *)lent->bytes + lent->len - len, len);
        unread->len = len;
    }
    return 0;
}

size_t ior_resource_unread(const struct ior_resource *res, struct iovec *iov, int n, int *ret_n)
{
    if (res && ior__is_datagram(res))
        return ior__datagram_unread(res, iov, n, ret_n);
    const struct ior__unread *unread = res && (res->bits & IOR__STREAM) ? stream_of(res)->unread : NULL;
    const struct ior__held *held = unread ? unread->held : NULL;
    struct iovec parts[2];
    size_t len = 0;
    int count = 0;
    if (unread && unread->len > 0)
        parts[count++] = (struct iovec){.iov_base = (void *)(uintptr_t)unread->bytes, .iov_len = unread->len};
    if (held)
        parts[count++] =
            (struct iovec){.iov_base = (void *)(uintptr_t)(held->bytes + held->at), .iov_len = held->len - held->at};
    for (int i = 0; i < count; i++) {
        len += parts[i].iov_len;
        if (iov && i < n)
            iov[i] = parts[i];
    }
    if (ret_n)
        *ret_n = count;
    return len;
}
