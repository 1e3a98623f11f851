/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shared buffers: immutable bytes with an atomic reference count.
 *
 * A buffer can be in a thousand queues of a runtime and is still in memory once, so the runtime counts it once: the
 * first runtime that queues it becomes `counted_by` and counts its places. A runtime that meets a buffer which another
 * one counts takes each place for a full copy, which errs on the safe side. Only the thread of the counting runtime
 * touches `queued`.
 */
#include "buf.h"

#include <string.h>
#include "util.h"

static struct ior_buf *make(size_t extra)
{
    if (extra > SIZE_MAX - sizeof(struct ior_buf))
        return NULL;
    struct ior_buf *buf = ior__calloc(sizeof(*buf) + extra);
    if (buf)
        atomic_init(&buf->refs, 1);
    return buf;
}

struct ior_buf *ior_buf_copy(const void *bytes, size_t len)
{
    struct ior_buf *buf = make(len);
    if (!buf)
        return NULL;
    if (len > 0)
        memcpy(buf + 1, bytes, len);
    buf->bytes = buf + 1;
    buf->len = len;
    return buf;
}

static void nothing(void *arg)
{
    (void)arg;
}

struct ior_buf *ior_buf_wrap(void *bytes, size_t len, void (*release)(void *arg), void *arg)
{
    struct ior_buf *buf = make(0);
    if (!buf)
        return NULL;
    buf->bytes = bytes;
    buf->len = len;
    buf->release = release ? release : nothing;
    buf->arg = arg;
    return buf;
}

struct ior_buf *ior_buf_ref(struct ior_buf *buf)
{
    atomic_fetch_add_explicit(&buf->refs, 1, memory_order_relaxed);
    return buf;
}

void ior_buf_unref(struct ior_buf *buf)
{
    if (!buf || atomic_fetch_sub_explicit(&buf->refs, 1, memory_order_acq_rel) != 1)
        return;
    void (*release)(void *) = buf->release;
    void *arg = buf->arg;
    ior__free(buf, sizeof(*buf) + (release ? 0 : buf->len));
    if (release)
        release(arg);
}

const void *ior_buf_bytes(const struct ior_buf *buf)
{
    return buf->bytes;
}

size_t ior_buf_len(const struct ior_buf *buf)
{
    return buf->len;
}

size_t ior__buf_would_count(const struct ior_buf *buf, const struct ior_runtime *rt)
{
    return atomic_load_explicit(&buf->counted_by, memory_order_acquire) == rt ? 0 : buf->len;
}

size_t ior__buf_count(struct ior_buf *buf, struct ior_runtime *rt)
{
    struct ior_runtime *counted_by = NULL;
    if (atomic_compare_exchange_strong_explicit(&buf->counted_by, &counted_by, rt, memory_order_acq_rel,
                                                memory_order_acquire)) {
        buf->queued = 1;
        return buf->len;
    }
    if (counted_by != rt)
        return buf->len;
    buf->queued++;
    return 0;
}

size_t ior__buf_uncount(struct ior_buf *buf, struct ior_runtime *rt)
{
    if (atomic_load_explicit(&buf->counted_by, memory_order_acquire) != rt)
        return buf->len;
    if (--buf->queued > 0)
        return 0;
    atomic_store_explicit(&buf->counted_by, NULL, memory_order_release);
    return buf->len;
}
