/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pending writes, the loop's side: what a turn's sends (send.c) have gathered for a transport is written at the end of
 * the turn, in one system call.
 *
 * A transport without output holds no queue. A queue's first piece lives in the queue's own block, which comes from a
 * pool of the runtime, so that a small answer costs no allocation; more pieces are blocks of their own.
 *
 * Three sums, and what each is for: `bytes` are those still to be written (END's `unsent`); `charge` counts towards the
 * transport's marks; `memory` counts towards the runtime's cap (blocks, and shared buffers once).
 *
 * Bytes that were lent to a service from the read buffer, and that it sends on, are not copied but borrowed: the room
 * for them is made as for others, and they are moved there only if they are still in the queue after the turn's writing.
 * That is the end of the turn, or before it when the read buffer is full, or, where the engine writes, once it has told
 * what it wrote, which is before the next turn's records. Until then no read goes there.
 *
 * Invariants: bytes is the sum of end - start over the pieces; at the end of a turn no transport holds a queue without
 * pieces; nothing here calls a service but relax.
 */
#include "output.h"

#include <errno.h>
#include <string.h>

#include "buf.h"

#define FILE_CHUNK ((uint64_t)1 << 20) /* one sendfile(2) */
#define FILE_TURN ((uint64_t)4 << 20)  /* file bytes of one transport in a turn */
#define IOV_MOST 1024                  /* UIO_MAXIOV on Linux */

/* ---- blocks ---- */

void ior__output_prime(struct ior__output *out)
{
    *out = (struct ior__output){.memory = IOR__OUTPUT_BLOCK};
    out->first_piece =
        (struct ior__piece){.bytes = out->room, .capacity = IOR__OUTPUT_ROOM, .kind = IOR__PIECE_COPY, .inside = true};
}

struct ior__output *ior__output_block_new(struct ior_runtime *rt)
{
    struct ior__output *out = ior__alloc(IOR__OUTPUT_BLOCK);
    if (!out)
        return NULL;
    ior__output_prime(out);
    rt->blocks++;
    rt->output_bytes += IOR__OUTPUT_BLOCK;
    return out;
}

void ior__output_block_free(struct ior_runtime *rt, struct ior__output *out)
{
    ior__free(out, IOR__OUTPUT_BLOCK);
    rt->blocks--;
    rt->output_bytes -= IOR__OUTPUT_BLOCK;
}

uint64_t ior__output_held(const struct ior_runtime *rt)
{
    uint64_t held = rt->output_bytes;
    for (const struct ior__output *out = rt->pool; out; out = out->next)
        held -= IOR__OUTPUT_BLOCK;
    return held;
}

void ior__output_trim(struct ior_runtime *rt)
{
    struct ior__output *last = rt->pool;
    for (uint32_t i = 1; last && i < IOR__POOL_MOST; i++)
        last = last->next;
    while (last && last->next) {
        struct ior__output *out = last->next;
        last->next = out->next;
        ior__output_block_free(rt, out);
    }
}

void ior__output_release(struct ior_resource *res)
{
    struct ior__output *out = res->output;
    if (!out || out->head)
        return;
    res->output = NULL;
    ior__output_prime(out);
    ior__output_put(res->cx->rt, out);
}

void ior__output_pool_free(struct ior_runtime *rt)
{
    while (rt->pool)
        ior__output_block_free(rt, ior__output_get(rt));
}

/* Frees the first piece. The accounts of `rt` follow, where there is one. */
static void drop_head(struct ior__output *out, struct ior_runtime *rt, const struct ior_os *os)
{
    struct ior__piece *piece = out->head;
    struct ior_buf *buf = NULL;
    if (piece->kind == IOR__PIECE_FDS)
        ior__fds_close(out, piece, os);
    out->head = piece->next;
    if (!out->head)
        out->tail = NULL;
    out->cost -= piece->cost;
    if (piece->kind == IOR__PIECE_BUF) {
        buf = piece->buf;
        if (rt)
            rt->output_bytes -= ior__buf_uncount(buf, rt);
    } else if (piece->kind == IOR__PIECE_FILE) {
        os->close(os->arg, piece->fd);
    }
    if (!piece->inside) {
        size_t size = sizeof(*piece) + piece->capacity;
        out->memory -= size;
        if (rt)
            rt->output_bytes -= size;
        ior__free(piece, size);
    }
    ior_buf_unref(buf);
}

/* ---- borrowed bytes ---- */

void ior__output_move_borrowed(struct ior__output *out)
{
    out->borrows = false;
    for (struct ior__piece *piece = out->head; piece; piece = piece->next) {
        if (!piece->borrowed)
            continue;
        unsigned char *own = piece->inside ? out->room : (unsigned char *)(piece + 1);
        memcpy(own + piece->start, piece->bytes + piece->start, (size_t)(piece->end - piece->start));
        piece->bytes = own;
        piece->borrowed = false;
    }
}

void ior__output_keep_all(struct ior_runtime *rt)
{
    *rt->work.end = NULL;
    for (struct ior_resource *res = rt->work.first; res; res = res->next_work) {
        ior__output_open(res);
        if (res->output)
            ior__output_keep(res->output);
    }
}

/* ---- writing ---- */

void ior__output_consume(struct ior_resource *res, uint64_t n)
{
    struct ior__output *out = res->output;
    out->bytes -= n;
    res->written += n;
    while (n > 0) {
        struct ior__piece *piece = out->head;
        uint64_t left = piece->end - piece->start;
        uint64_t part = n < left ? n : left;
        piece->start += part;
        n -= part;
        if (piece->kind != IOR__PIECE_FILE)
            out->charge -= part;
        if (piece->start == piece->end)
            drop_head(out, res->cx->rt, res->cx->rt->os);
    }
}

static const unsigned char *piece_bytes(const struct ior__piece *piece)
{
    return piece->kind == IOR__PIECE_BUF ? piece->buf->bytes : piece->bytes;
}

/* The pieces in memory at the front of the queue, at most `most`; *ret_len is their length. */
static int gather(const struct ior__output *out, struct iovec *iov, int most, uint64_t *ret_len)
{
    int n = 0;
    uint64_t len = 0;
    for (const struct ior__piece *piece = out->head; piece && n < most; piece = piece->next) {
        if (piece->kind >= IOR__PIECE_FILE)
            break;
        iov[n].iov_base = (void *)(uintptr_t)(piece_bytes(piece) + piece->start);
        iov[n].iov_len = (size_t)(piece->end - piece->start);
        len += piece->end - piece->start;
        n++;
    }
    *ret_len = len;
    return n;
}

/* Writes the first pieces. 1: all of it went out; 0: the kernel took less; IOR__IN_FLIGHT; else -errno. */
static int write_iov(struct ior_resource *res, const struct iovec *iov, int n, uint64_t len)
{
    ssize_t written;
    if (res->cx->rt->does_io && ior__engine_receives(res)) {
        int r = ior__send_begin(res, iov, n, len, &written);
        if (r != 1)
            return r;
    } else {
        do {
            written = res->ops->write(res, iov, n);
        } while (written == -EINTR);
    }
    if (written < 0)
        return (int)written;
    ior__output_consume(res, (uint64_t)written);
    return (uint64_t)written == len;
}

static IOR_APART int write_pieces(struct ior_resource *res)
{
    struct iovec iov[IOV_MOST];
    uint64_t len;
    int n = gather(res->output, iov, IOV_MOST, &len);
    return write_iov(res, iov, n, len);
}

/* Writes pieces in memory, as write_iov. Mostly there is one, which needs no large array. */
static int write_memory(struct ior_resource *res)
{
    const struct ior__output *out = res->output;
    struct iovec iov;
    uint64_t len;
    if (out->head->next)
        return write_pieces(res);
    (void)gather(out, &iov, 1, &len);
    return write_iov(res, &iov, 1, len);
}

/* What sendfile(2) cannot do (Unix kinds of fds, other platforms) is done by reading and writing. */
static ssize_t copy_file(struct ior_resource *res, const struct ior__piece *piece, uint64_t most)
{
    struct ior_runtime *rt = res->cx->rt;
    size_t len = most < rt->read_bytes ? (size_t)most : rt->read_bytes;
    ssize_t got;
    do {
        got = rt->os->pread(rt->os->arg, piece->fd, rt->read_at, len, piece->start);
    } while (got == -EINTR);
    if (got <= 0)
        return got;
    struct iovec iov = {.iov_base = rt->read_at, .iov_len = (size_t)got};
    ssize_t written = res->ops->write(res, &iov, 1);
    return written == 0 ? -EAGAIN : written; /* 0 would say that the file has ended */
}

/* Writes a chunk of the file range at the front: as write_memory; -EIO where the file is too short. */
static int write_file(struct ior_resource *res, uint64_t *turn_left)
{
    struct ior__output *out = res->output;
    const struct ior__piece *piece = out->head;
    const struct ior_os *os = res->cx->rt->os;
    uint64_t most = piece->end - piece->start;
    if (most > FILE_CHUNK)
        most = FILE_CHUNK;
    bool socket_stream = (res->bits & IOR__STREAM) != 0;
    ssize_t written;
    do {
        written = socket_stream ? os->sendfile(os->arg, res->fd, piece->fd, piece->start, (size_t)most) : -EINVAL;
        if (written == -EINVAL || written == -ENOSYS)
            written = copy_file(res, piece, most);
    } while (written == -EINTR);
    if (written == 0)
        return -EIO;
    if (written < 0)
        return (int)written;
    *turn_left -= (uint64_t)written < *turn_left ? (uint64_t)written : *turn_left;
    ior__output_consume(res, (uint64_t)written);
    return 1; /* sendfile takes less also at page and pipe borders: only -EAGAIN tells that the socket is full */
}

void ior__write_failed(struct ior_resource *res, int error)
{
    ior__latch_error(res, error);
    if (res->cx->rt->does_io)
        ior__leave_set(res); /* the engine stops receiving: what is to be read is in its hands, or the kernel's */
    res->bits |= IOR__WRITE_DEAD;
    res->bits &= ~(uint32_t)(IOR__BLOCKED | IOR__FULL | IOR__OWED);
    bool reads = (res->bits & (IOR__PAUSED | IOR__BACKOFF)) || (ior__own_interest(res) & IOR_READ);
    bool drains = reads && !(res->bits & (IOR__NO_READ | IOR__EOF_SEEN | IOR__CLOSING));
    if (!drains)
        ior__end(res, IOR_ERROR, res->error, -1);
    else if (!(res->bits & IOR__PAUSED))
        ior__ready_add(res->cx->rt, res, IOR_READ);
}

void ior__output_wrote(struct ior_resource *res, int r)
{
    if (r == 0 || r == -EAGAIN)
        res->bits |= IOR__BLOCKED;
    else if (r == -ENOBUFS || r == -ENOMEM || r == -ETOOMANYREFS) /* the last: too many fds are under way */
        ior__backoff(res, -r);
    else if (r < 0)
        ior__write_failed(res, -r);
    else
        res->bits &= ~(uint32_t)IOR__TOLD_ERROR;
}

/* Writes until the queue is empty, the kernel takes no more, or the turn's share of file bytes is spent. */
static void write_out(struct ior_resource *res)
{
    struct ior__output *out = res->output;
    uint64_t file_left = res->cx->rt->early ? 0 : FILE_TURN;
    uint64_t before = out->bytes;
    int r = 1;
    while (out->head && r == 1) {
        if (out->head->kind < IOR__PIECE_FILE) {
            r = write_memory(res);
        } else if (out->head->kind == IOR__PIECE_FDS) {
            r = ior__fds_write(res);
        } else if (file_left > 0) {
            r = write_file(res, &file_left);
        } else {
            ior__work_add(res->cx->rt, res);
            break;
        }
    }
    if (out->bytes < before)
        ior__touch_idle(res);
    ior__output_wrote(res, r);
}

/* There is room: unread bytes are told again, and so is what a kind of the user's own holds back. */
static void read_again(struct ior_resource *res)
{
    bool unread = ior_resource_unread(res, NULL, 0, NULL) > 0;
    if (unread)
        res->bits |= IOR__AGAIN;
    if (unread || ior__looks_itself(res))
        ior__ready_add(res->cx->rt, res, IOR_READ);
}

/* Lets reading go on and tells DRAINED, where the queue has fallen far enough. */
static void relax(struct ior_resource *res)
{
    struct ior__output *out = res->output;
    const struct ior__marks *marks = ior__marks_of(res);
    uint64_t charge = out ? out->charge : 0;
    uint64_t room = marks->cap - (out ? out->need : 0);
    if ((res->bits & IOR__FULL) && charge <= marks->low) {
        res->bits &= ~(uint32_t)IOR__FULL;
        if (!(res->bits & (IOR__PAUSED | IOR__CLOSING)))
            read_again(res);
    }
    bool costly =
        out && out->cost > marks->cap; /* refused for its many pieces: a quarter of the bound is the low mark */
    if (!(res->bits & IOR__OWED) || (res->bits & IOR__CLOSING) || res->share > 0 || charge > marks->low ||
        charge > room || costly)
        return;
    res->bits &= ~(uint32_t)IOR__OWED;
    if (out)
        out->need = 0;
    ior__tell_pending(res); /* it may be so new that nothing was told of it yet */
    if (res->bits & (IOR__ENDING | IOR__CLOSING | IOR__OWED))
        return; /* OWED: what was sent in these callbacks is told with it, later */
    struct ior_event ev = {.type = IOR_EV_DRAINED};
    ior__tell(res, &ev);
}

void ior__flush(struct ior_resource *res)
{
    ior__output_open(res);
    struct ior__output *out = res->output;
    if (out && out->in_flight > 0 && !out->owner) {
        ior__send_settle(res); /* stopped in a request, and it goes on */
        out = res->output;
    }
    if (out && out->head && out->in_flight == 0 &&
        !(res->bits & (IOR__BLOCKED | IOR__WRITE_DEAD | IOR__BACKOFF | IOR__CONNECTING))) {
        if (IOR_UNLIKELY(ior__is_datagram(res)))
            ior__datagram_write_out(res);
        else
            write_out(res);
    }
    ior__output_release(res);
    out = res->output;
    if (out && !out->owner)
        ior__output_keep(out);
    if (IOR_UNLIKELY(res->bits & (IOR__OWED | IOR__FULL)) && !(res->bits & (IOR__ENDING | IOR__WRITE_DEAD)))
        relax(res);
}

/* A small flush that did not write all; ior__flush goes on with what is left. */
void ior__flush_small_less(struct ior_resource *res, ssize_t n)
{
    ior__output_open(res);
    if (n > 0) {
        ior__output_consume(res, (uint64_t)n);
        ior__touch_idle(res);
        n = 0;
    }
    if (n != -EINTR)
        ior__output_wrote(res, (int)n);
}

void ior__serve_starved(struct ior_runtime *rt)
{
    uint64_t cap = rt->output_cap_bytes;
    uint64_t held = ior__output_held(rt);
    if (held >= rt->starved_level)
        return;
    rt->starved = false;
    rt->starved_level = held;
    for (uint32_t i = 0; i < rt->slots.made; i++) {
        struct ior_resource *res = ior__slots_at(&rt->slots, i);
        if (!res || res->share == 0 || (res->bits & IOR__ENDING))
            continue;
        uint64_t need = (cap / UINT16_MAX + 1) * res->share;
        if (held > 0 && held + need > cap) {
            rt->starved = true; /* its turn comes when still more has been written */
            continue;
        }
        res->share = 0;
        ior__work_add(rt, res);
    }
}

/* ---- leaving and entering runtimes ---- */

/* Shared buffers of a queue come to, or go from, the accounts of a runtime. */
static uint64_t count_bufs(const struct ior__output *out, struct ior_runtime *rt,
                           size_t (*count)(struct ior_buf *, struct ior_runtime *))
{
    uint64_t bytes = 0;
    for (const struct ior__piece *piece = out->head; piece; piece = piece->next) {
        if (piece->kind == IOR__PIECE_BUF)
            bytes += count(piece->buf, rt);
    }
    return bytes;
}

void ior__output_leave(struct ior_resource *res)
{
    struct ior__output *out = res->output;
    struct ior_runtime *rt = res->cx->rt;
    if (!out)
        return;
    ior__output_keep(out);
    out->os = rt->os;
    rt->blocks--;
    rt->output_bytes -= out->memory + count_bufs(out, rt, ior__buf_uncount);
}

int ior__output_enter(struct ior_resource *res, struct ior_runtime *rt)
{
    struct ior__output *out = res->output;
    if (!out)
        return 0;
    rt->blocks++;
    rt->output_bytes += out->memory + count_bufs(out, rt, ior__buf_count);
    while (rt->output_bytes > rt->output_cap_bytes && rt->pool)
        ior__output_block_free(rt, ior__output_get(rt));
    if (rt->output_bytes > rt->output_cap_bytes) {
        ior__output_leave(res);
        return -ENOBUFS;
    }
    if (out->charge > ior__marks_of(res)->high && !(res->bits & IOR__WRITE_DEAD))
        res->bits |= IOR__FULL;
    return 0;
}

void ior__output_free(struct ior_resource *res, const struct ior_os *os)
{
    struct ior__output *out = res->output;
    if (!out)
        return;
    while (out->head)
        drop_head(out, NULL, os);
    res->output = NULL;
    ior__free(out, IOR__OUTPUT_BLOCK);
}

size_t ior_resource_unsent(const struct ior_resource *res, struct iovec *iov, int n, int *ret_n)
{
    if (res && ior__is_datagram(res))
        return ior__datagram_unsent(res, iov, n, ret_n);
    const struct ior__output *out = res ? res->output : NULL;
    size_t len = 0;
    int i = 0;
    for (const struct ior__piece *piece = out ? out->head : NULL; piece; piece = piece->next, i++) {
        size_t left = (size_t)(piece->end - piece->start);
        len += left;
        if (iov && i < n) {
            bool in_file = piece->kind == IOR__PIECE_FILE;
            iov[i].iov_base = in_file ? NULL : (void *)(uintptr_t)(piece_bytes(piece) + piece->start);
            iov[i].iov_len = left;
        }
    }
    if (ret_n)
        *ret_n = i;
    return len;
}
