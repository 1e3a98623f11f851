/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sends of every kind. Each answer is checked: taken whole, or refused for a reason and nothing has changed; full, or not,
 * by the marks.
 */
#include "story.h"

bool transports(const struct reg *reg)
{
    return reg->conn->kind == KIND_STREAM || reg->conn->kind == KIND_OWN;
}

static void send_answer(struct reg *reg, size_t len, uint64_t before, int r, bool file)
{
    struct story *s = reg->service->s;
    struct conn *conn = reg->conn;
    uint64_t after = ior_queued(reg->service->cx, reg->id);
    bool crowded = reg->service->rt->config.output_cap_bytes > 0 || conn->files || conn->shared || file;
    bool gone = reg->finish || conn->was_finished || conn->connecting || reg->closing || reg->asked ||
                (reg->told_eof && !conn->half_open) || s->harsh > 0 || s->plan.faults || s->plan.memory > 0 ||
                reg->service->rt->stopping || reg->service->line;
    NOTE(s, "  send %zu to %#llx (%llu queued): %s", len, (unsigned long long)reg->id, (unsigned long long)before,
         r > 0 ? "full" : ior_errname(r));
    reg->wrote = true;
    if (before <= conn->low)
        reg->full = false; /* it has fallen so far, and DRAINED waits for still more room */
    if (r < 0) {
        CHECK(s, 5, after == before, "a send that answers %s has changed the queue from %llu to %llu", ior_errname(r),
              (unsigned long long)before, (unsigned long long)after);
        if (r == -ENOBUFS) {
            reg->owed = true;
            if (!crowded && len > reg->need)
                reg->need = len;
            CHECK(s, 5, crowded || before + len > conn->cap, "a send is refused below the cap");
        } else if (r == -EMSGSIZE) {
            CHECK(s, 5, crowded || len > conn->cap, "a send of %zu bytes is too large for a cap of %zu", len,
                  conn->cap);
        } else if (r == -ENOTCONN) {
            CHECK(s, 5, conn->connecting, "a send to an open stream answers ENOTCONN");
        } else if (r == -EPIPE) {
            CHECK(s, 5, gone || ASK(s, ior_touch(reg->service->cx, reg->id)) == -EALREADY,
                  "a send is refused with EPIPE, and nobody finished");
        } else {
            CHECK(s, 5, (r == -ENOMEM && s->plan.memory > 0) || (file && s->plan.faults), "a send answers %s",
                  ior_errname(r));
        }
        return;
    }
    CHECK(s, 5, !reg->finish && !reg->closing && !reg->asked, "a send is taken after the end");
    conn->out->total += len;
    reg->sent_ns = now(s);
    conn->files |= file;
    CHECK(s, 5, after == before + len, "a send of %zu bytes has changed the queue from %llu to %llu", len,
          (unsigned long long)before, (unsigned long long)after);
    if (!conn->files) {
        CHECK(s, 5, after <= conn->cap, "the queue holds %llu bytes, over its cap of %zu", (unsigned long long)after,
              conn->cap);
        CHECK(s, 5, (r == 1) == (after > conn->high), "a send answers %d with %llu bytes queued and a mark of %zu", r,
              (unsigned long long)after, conn->high);
    }
    if (r == 1)
        reg->owed = reg->full = true;
}

static void released(void *arg)
{
    struct story *s = arg;
    CHECK(s, 13, !s->in_request, "a buffer is released inside a request");
    CHECK(s, 14, s->buffers > 0, "a buffer is released twice");
    s->buffers--;
}

/* A buffer around the pattern from an offset on; many may share it. */
static struct shared *shared_buf(struct story *s)
{
    struct shared *shared = &s->shared[pick(s, SHARED)];
    if (shared->buf && !once_in(s, 6))
        return shared;
    if (shared->buf) {
        struct ior_buf *old = shared->buf;
        shared->buf = NULL;
        ior_buf_unref(old);
    }
    shared->offset = (uint32_t)pick(s, PERIOD);
    shared->len = (size_t)(1 + pick(s, once_in(s, 2) ? PERIOD : 40));
    void *bytes = (void *)(uintptr_t)pattern_at(shared->offset);
    shared->buf = once_in(s, 2) ? ior_buf_copy(bytes, shared->len) : ior_buf_wrap(bytes, shared->len, released, s);
    if (shared->buf && ior_buf_bytes(shared->buf) == bytes)
        s->buffers++;
    return shared->buf ? shared : NULL;
}

/*
 * The bytes lie where the service has them, or, as if they were sent on, in the event they answer. (It may not write
 * there; but what is in the event has been checked, and nobody looks again.)
 */
static int send_plain(struct service *service, struct reg *reg, size_t len)
{
    struct story *s = service->s;
    unsigned char own[12 * 1024], *bytes = own;
    struct flow *out = reg->conn->out;
    if (len % 2 == 1 && len <= s->lent_len) {
        bytes = s->lent;
        s->lent += len;
        s->lent_len -= len;
    }
    flow_fill(out, out->total, bytes, len);
    uint64_t before = ior_queued(service->cx, reg->id);
    int r;
    if (once_in(s, 4) && len > 3) {
        size_t at = (size_t)(1 + pick(s, len - 2));
        struct iovec iov[3] = {
            {.iov_base = bytes, .iov_len = at},
            {.iov_base = NULL, .iov_len = 0},
            {.iov_base = bytes + at, .iov_len = len - at},
        };
        r = ASK(s, ior_sendv(service->cx, reg->id, iov, 3));
    } else {
        r = ASK(s, ior_send(service->cx, reg->id, bytes, len));
    }
    send_answer(reg, len, before, r, false);
    return r;
}

static void send_shared(struct service *service, struct reg *reg)
{
    struct story *s = service->s;
    struct shared *shared = shared_buf(s);
    if (!shared)
        return;
    struct flow *out = reg->conn->out;
    size_t gap = (shared->offset + PERIOD - flow_offset(out, out->total)) % PERIOD;
    if (out->total < HEAD && gap < HEAD)
        gap += PERIOD;
    if (gap > 0 && send_plain(service, reg, gap) < 0)
        return;
    uint64_t before = ior_queued(service->cx, reg->id);
    reg->conn->shared = true;
    send_answer(reg, shared->len, before, ASK(s, ior_send_buf(service->cx, reg->id, shared->buf)), false);
}

static void send_file(struct service *service, struct reg *reg)
{
    struct story *s = service->s;
    struct flow *out = reg->conn->out;
    int host = service->rt->host;
    int fd = s->files[host - 1];
    if (out->total < HEAD || fd <= 0 || !s->plan.files)
        return;
    size_t len = (size_t)(1 + pick(s, once_in(s, 3) ? PERIOD : 300));
    uint64_t before = ior_queued(service->cx, reg->id);
    uint64_t offset = flow_offset(out, out->total);
    send_answer(reg, len, before, ASK(s, ior_send_file(service->cx, reg->id, fd, offset, len)), true);
}

void send_some(struct service *service, struct reg *reg)
{
    static const unsigned most[] = {40, 400, 3000, 12 * 1024};
    struct story *s = service->s;
    if (!transports(reg) || reg->conn->pipe_in || reg->told_end)
        return;
    uint64_t how = pick(s, 10);
    if (how == 9)
        send_shared(service, reg);
    else if (how == 8)
        send_file(service, reg);
    else
        (void)send_plain(service, reg, (size_t)(1 + pick(s, most[s->plan.flood ? 3 : pick(s, 4)])));
}

/* What a service says when it stops must still arrive. */
void send_at_stop(struct service *service)
{
    struct story *s = service->s;
    for (unsigned i = 0; i < s->regs_n; i++) {
        struct reg *reg = &s->regs[i];
        if (reg->service == service && !reg->told_end && reg->conn->peer && transports(reg) && !reg->conn->pipe_in &&
            once_in(s, 2))
            (void)send_plain(service, reg, (size_t)(1 + pick(s, 3000)));
    }
}
