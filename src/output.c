/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pending writes: a bounded queue of pieces for each transport that has something to write.
 *
 * A send appends all its bytes or none (request side, top half of the file); the loop writes at the end of the turn what all the
 * turn's sends have gathered, in one system call (bottom half, ior__flush). A transport without output holds no queue.
 * The first piece lives in the queue's own block, which comes from a pool of the runtime, so that a small answer costs
 * no allocation; more pieces are blocks of their own, exactly sized or a few KiB for small sends to share.
 *
 * Three sums, and what each is for: `bytes` are those still to be written (END's `unsent`); `charge` counts towards the
 * transport's marks (a file range costs only a constant: its bytes are not in memory); `memory` counts towards the
 * runtime's cap (blocks, and shared buffers once).
 *
 * Invariants: bytes is the sum of end - start over the pieces; at the end of a turn no transport holds a queue without
 * pieces; nothing here calls a service but relax.
 */
#include "output.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#include "buf.h"

#define POOL_MAX 256u
#define SHARED_PIECE_BYTES 8192u     /* a block that small sends share */
#define PIECE_CHARGE 64u             /* of a file range, towards the marks */
#define FILE_CHUNK ((uint64_t)1 << 20)    /* one sendfile(2) */
#define FILE_TURN ((uint64_t)4 << 20)     /* file bytes of one transport in a turn */
#define IOV_MOST 1024                /* UIO_MAXIOV on Linux */
#define FILE_READ_MIN ((size_t)4096)

/* ---- blocks ---- */

static uint32_t piece_size(const struct ior__piece *piece)
{
    return (uint32_t)sizeof(*piece) + (piece->kind == IOR__PIECE_COPY ? piece->capacity : 0);
}

static struct ior__output *output_get(struct ior_runtime *rt)
{
    struct ior__output *out = rt->pool;
    if (out) {
        rt->pool = out->next;
        rt->pool_count--;
    } else {
        out = ior__alloc(IOR__OUTPUT_BLOCK);
        if (!out)
            return NULL;
    }
    out->head = out->tail = NULL;
    out->bytes = out->charge = out->need = 0;
    out->memory = IOR__OUTPUT_BLOCK;
    return out;
}

static void output_put(struct ior_runtime *rt, struct ior__output *out)
{
    if (rt && rt->pool_count < POOL_MAX) {
        out->next = rt->pool;
        rt->pool = out;
        rt->pool_count++;
    } else {
        ior__free(out, IOR__OUTPUT_BLOCK);
    }
}

void ior__output_pool_free(struct ior_runtime *rt)
{
    while (rt->pool) {
        struct ior__output *out = rt->pool;
        rt->pool = out->next;
        ior__free(out, IOR__OUTPUT_BLOCK);
    }
    rt->pool_count = 0;
}

static void append(struct ior__output *out, struct ior__piece *piece)
{
    piece->next = NULL;
    if (out->tail)
        out->tail->next = piece;
    else
        out->head = piece;
    out->tail = piece;
}

/* Frees the first piece. The accounts of `rt` follow, where there is one. */
static void drop_head(struct ior__output *out, struct ior_runtime *rt, const struct ior_os *os)
{
    struct ior__piece *piece = out->head;
    out->head = piece->next;
    if (!out->head)
        out->tail = NULL;
    struct ior_buf *buf = NULL;
    if (piece->kind == IOR__PIECE_BUF) {
        buf = piece->buf;
        if (rt)
            rt->output_bytes -= ior__buf_uncount(buf, rt);
    } else if (piece->kind == IOR__PIECE_FILE) {
        os->close(os->arg, piece->fd);
        out->charge -= PIECE_CHARGE;
    }
    if (!piece->inside) {
        uint32_t size = piece_size(piece);
        out->memory -= size;
        if (rt)
            rt->output_bytes -= size;
        ior__free(piece, size);
    }
    ior_buf_unref(buf);
}

/* ---- the request side ---- */

/* Refused because of the runtime's cap: DRAINED comes when the runtime's output has fallen. */
static void starve(struct ior_runtime *rt, struct ior_resource *res, uint64_t memory)
{
    rt->starved = true;
    if (memory > rt->starved_need)
        rt->starved_need = memory;
    res->bits |= IOR__IN_STARVED;
}

/* The queue of a resource, made where there is none. */
static struct ior__output *queue_of(struct ior_resource *res)
{
    struct ior__output *out = res->output;
    if (out)
        return out;
    struct ior_runtime *rt = res->cx->rt;
    out = output_get(rt);
    if (!out)
        return NULL;
    res->output = out;
    rt->output_bytes += IOR__OUTPUT_BLOCK;
    return out;
}

static void queue_release(struct ior_resource *res)
{
    struct ior__output *out = res->output;
    struct ior_runtime *rt = res->cx->rt;
    if (out->head)
        return;
    res->output = NULL;
    rt->output_bytes -= IOR__OUTPUT_BLOCK;
    output_put(rt, out);
}

/* Why a transport takes no sends. */
static int send_refused(const struct ior_resource *res)
{
    if ((res->bits & (IOR__LISTENER | IOR__WATCH | IOR__NO_WRITE)) || !res->ops->write)
        return -EOPNOTSUPP;
    return (res->bits & IOR__CONNECTING) ? -ENOTCONN : -EPIPE;
}

/*
 * Looks whether `charge` more fits: 0, -EMSGSIZE (it never would) or -ENOBUFS (DRAINED is owed then). `memory` is what it
 * adds to the runtime's sum.
 */
static int admit(struct ior_resource *res, uint64_t charge, uint64_t memory)
{
    struct ior_runtime *rt = res->cx->rt;
    struct ior__marks marks = ior__marks_of(res);
    struct ior__output *out = res->output;
    uint64_t held = out ? out->charge : 0;
    uint64_t block = out ? 0 : IOR__OUTPUT_BLOCK;
    if (charge > marks.cap || memory > rt->output_cap_bytes - IOR__OUTPUT_BLOCK)
        return -EMSGSIZE;
    bool over = held + charge > marks.cap;
    bool starved = rt->output_bytes + block + memory > rt->output_cap_bytes;
    if (IOR_LIKELY(!over && !starved))
        return 0;
    if (over && charge > out->need)
        out->need = charge;
    if (starved)
        starve(rt, res, block + memory);
    res->bits |= IOR__OWED;
    ior__work_add(rt, res);
    return -ENOBUFS;
}

/* The bytes are in the queue: sums, marks, and the end of the turn will write them. */
static int taken(struct ior_resource *res, uint64_t bytes, uint64_t charge)
{
    struct ior__output *out = res->output;
    struct ior_runtime *rt = res->cx->rt;
    out->bytes += bytes;
    out->charge += charge;
    ior__work_add(rt, res);
    if (IOR_LIKELY(out->charge <= ior__marks_of(res).high))
        return 0;
    res->bits |= IOR__FULL | IOR__OWED;
    return 1;
}

/* A piece with room for `len` copied bytes at its end; NULL: out of memory. */
static struct ior__piece *piece_with_room(struct ior_runtime *rt, struct ior__output *out, size_t len)
{
    struct ior__piece *tail = out->tail;
    if (tail && tail->kind == IOR__PIECE_COPY && tail->capacity - tail->end >= len)
        return tail;
    struct ior__piece *piece;
    if (!tail && len <= IOR__OUTPUT_ROOM) {
        piece = &out->first_piece;
        piece->bytes = out->room;
        piece->capacity = IOR__OUTPUT_ROOM;
        piece->inside = true;
    } else {
        size_t least = SHARED_PIECE_BYTES - sizeof(*piece);
        size_t capacity = tail && len < least ? least : len;
        piece = ior__alloc(sizeof(*piece) + capacity);
        if (!piece)
            return NULL;
        piece->bytes = (unsigned char *)(piece + 1);
        piece->capacity = (uint32_t)capacity;
        piece->inside = false;
        out->memory += sizeof(*piece) + capacity;
        rt->output_bytes += sizeof(*piece) + capacity;
    }
    piece->kind = IOR__PIECE_COPY;
    piece->start = piece->end = 0;
    append(out, piece);
    return piece;
}

/* What copying `len` bytes adds to the runtime's sum at most. */
static uint64_t copy_memory(const struct ior__output *out, size_t len)
{
    if (!out || !out->head)
        return len <= IOR__OUTPUT_ROOM ? 0 : len + sizeof(struct ior__piece);
    const struct ior__piece *tail = out->tail;
    if (tail->kind == IOR__PIECE_COPY && tail->capacity - tail->end >= len)
        return 0;
    return len + sizeof(struct ior__piece) < SHARED_PIECE_BYTES ? SHARED_PIECE_BYTES : len + sizeof(struct ior__piece);
}

int ior_send(struct ior_context *cx, ior_id id, const void *bytes, size_t len)
{
    struct iovec iov = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = len};
    return ior_sendv(cx, id, &iov, 1);
}

/* Finds a transport that takes sends. An ending one answers -EPIPE. */
static int find_writable(struct ior_context *cx, ior_id id, struct ior_resource **ret)
{
    struct ior_resource *res;
    int err = ior__find(cx, id, &res);
    if (err < 0)
        return err == -EALREADY ? -EPIPE : err;
    if (IOR_UNLIKELY((res->bits & IOR__NO_SEND_BITS) || !res->ops->write))
        return send_refused(res);
    *ret = res;
    return 0;
}

int ior_sendv(struct ior_context *cx, ior_id id, const struct iovec *iov, int n)
{
    struct ior_resource *res;
    int err = find_writable(cx, id, &res);
    if (err < 0)
        return err;
    if (n < 0 || (n > 0 && !iov))
        return -EINVAL;
    size_t len = 0;
    for (int i = 0; i < n; i++) {
        if (iov[i].iov_len > 0 && !iov[i].iov_base)
            return -EINVAL;
        if (iov[i].iov_len > SIZE_MAX - len)
            return -EMSGSIZE;
        len += iov[i].iov_len;
    }
    if (len == 0)
        return 0;
    if (len > UINT32_MAX / 2)
        return -EMSGSIZE;
    err = admit(res, len, copy_memory(res->output, len));
    if (err < 0)
        return err;
    struct ior__output *out = queue_of(res);
    struct ior__piece *piece = out ? piece_with_room(cx->rt, out, len) : NULL;
    if (!piece) {
        if (out)
            queue_release(res);
        return -ENOMEM;
    }
    for (int i = 0; i < n; i++) {
        if (iov[i].iov_len > 0)
            memcpy(piece->bytes + piece->end, iov[i].iov_base, iov[i].iov_len);
        piece->end += iov[i].iov_len;
    }
    return taken(res, len, len);
}

/* A piece that holds no bytes of its own. */
static struct ior__piece *piece_for(struct ior_resource *res, enum ior__piece_kind kind)
{
    struct ior_runtime *rt = res->cx->rt;
    struct ior__output *out = queue_of(res);
    if (!out)
        return NULL;
    struct ior__piece *piece = &out->first_piece;
    if (out->head) {
        piece = ior__alloc(sizeof(*piece));
        if (!piece)
            return NULL;
        piece->inside = false;
        out->memory += sizeof(*piece);
        rt->output_bytes += sizeof(*piece);
    } else {
        piece->inside = true;
    }
    piece->kind = (uint8_t)kind;
    append(out, piece);
    return piece;
}

int ior_send_buf(struct ior_context *cx, ior_id id, struct ior_buf *buf)
{
    struct ior_resource *res;
    int err = find_writable(cx, id, &res);
    if (err < 0)
        return err;
    if (!buf)
        return -EINVAL;
    if (buf->len == 0)
        return 0;
    err = admit(res, buf->len, sizeof(struct ior__piece) + ior__buf_would_count(buf, cx->rt));
    if (err < 0)
        return err;
    struct ior__piece *piece = piece_for(res, IOR__PIECE_BUF);
    if (!piece)
        return -ENOMEM;
    piece->buf = ior_buf_ref(buf);
    piece->start = 0;
    piece->end = buf->len;
    cx->rt->output_bytes += ior__buf_count(buf, cx->rt);
    return taken(res, buf->len, buf->len);
}

int ior_send_file(struct ior_context *cx, ior_id id, int fd, uint64_t offset, uint64_t len)
{
    struct ior_resource *res;
    int err = find_writable(cx, id, &res);
    if (err < 0)
        return err;
    if (fd < 0)
        return -EBADF;
    if (offset > INT64_MAX || len > INT64_MAX - offset)
        return -EOVERFLOW;
    if (len == 0)
        return 0;
    err = admit(res, PIECE_CHARGE, sizeof(struct ior__piece));
    if (err < 0)
        return err;
    const struct ior_os *os = cx->rt->os;
    int own = os->dup(os->arg, fd);
    if (own < 0)
        return own;
    struct ior__piece *piece = piece_for(res, IOR__PIECE_FILE);
    if (!piece) {
        os->close(os->arg, own);
        return -ENOMEM;
    }
    piece->fd = own;
    piece->start = offset;
    piece->end = offset + len;
    return taken(res, len, PIECE_CHARGE);
}

uint64_t ior_queued(struct ior_context *cx, ior_id id)
{
    struct ior_resource *res;
    return ior__find(cx, id, &res) < 0 ? 0 : ior__output_left(res);
}

/* ---- the loop's side ---- */

/* `n` bytes of the front were written. */
static void consume(struct ior_resource *res, uint64_t n)
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
        if (piece->kind == IOR__PIECE_FILE)
            break;
        iov[n].iov_base = (void *)(uintptr_t)(piece_bytes(piece) + piece->start);
        iov[n].iov_len = (size_t)(piece->end - piece->start);
        len += piece->end - piece->start;
        n++;
    }
    *ret_len = len;
    return n;
}

/* Writes pieces in memory. 1: all that was tried went out; 0: the kernel took less; else -errno. */
static int write_memory(struct ior_resource *res)
{
    struct ior__output *out = res->output;
    struct iovec iov[IOV_MOST];
    uint64_t len;
    int n = gather(out, iov, out->head->next ? IOV_MOST : 1, &len);
    ssize_t written;
    do {
        written = res->ops->write(res, iov, n);
    } while (written == -EINTR);
    if (written < 0)
        return (int)written;
    consume(res, (uint64_t)written);
    return (uint64_t)written == len;
}

/* What sendfile(2) cannot do (Unix kinds of fds, other platforms) is done by reading and writing. */
static ssize_t copy_file(struct ior_resource *res, const struct ior__piece *piece, uint64_t most)
{
    struct ior_runtime *rt = res->cx->rt;
    size_t len = most < rt->read_bytes ? (size_t)most : rt->read_bytes;
    ssize_t got;
    do {
        got = rt->os->pread(rt->os->arg, piece->fd, rt->read_buf, len, piece->start);
    } while (got == -EINTR);
    if (got <= 0)
        return got;
    struct iovec iov = {.iov_base = rt->read_buf, .iov_len = (size_t)got};
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
    consume(res, (uint64_t)written);
    return 1; /* sendfile takes less also at page and pipe borders: only -EAGAIN tells that the socket is full */
}

void ior__write_failed(struct ior_resource *res, int error)
{
    ior__latch_error(res, error);
    res->bits |= IOR__WRITE_DEAD;
    res->bits &= ~(uint32_t)(IOR__BLOCKED | IOR__FULL | IOR__OWED);
    bool reads = (res->bits & (IOR__PAUSED | IOR__BACKOFF)) || (ior__own_interest(res) & IOR_READ);
    bool drains = reads && !(res->bits & (IOR__NO_READ | IOR__EOF_SEEN | IOR__CLOSING));
    if (!drains)
        ior__end(res, IOR_ERROR, res->error, -1);
    else if (!(res->bits & IOR__PAUSED))
        ior__ready_add(res->cx->rt, res, IOR_READ);
}

/* Writes until the queue is empty, the kernel takes no more, or the turn's share of file bytes is spent. */
static void write_out(struct ior_resource *res)
{
    struct ior__output *out = res->output;
    uint64_t file_left = FILE_TURN;
    uint64_t before = out->bytes;
    int r = 1;
    while (out->head && r == 1) {
        if (out->head->kind != IOR__PIECE_FILE) {
            r = write_memory(res);
        } else if (file_left > 0) {
            r = write_file(res, &file_left);
        } else {
            ior__work_add(res->cx->rt, res);
            break;
        }
    }
    if (out->bytes < before)
        ior__touch_idle(res);
    if (r == 0 || r == -EAGAIN)
        res->bits |= IOR__BLOCKED;
    else if (r == -ENOBUFS || r == -ENOMEM)
        ior__backoff(res, -r);
    else if (r < 0)
        ior__write_failed(res, -r);
    else
        res->bits &= ~(uint32_t)IOR__TOLD_ERROR;
}

/* Lets reading go on and tells DRAINED, where the queue has fallen far enough. */
static void relax(struct ior_resource *res)
{
    const struct ior__output *out = res->output;
    struct ior_runtime *rt = res->cx->rt;
    struct ior__marks marks = ior__marks_of(res);
    uint64_t charge = out ? out->charge : 0;
    uint64_t room = marks.cap - (out ? out->need : 0);
    if ((res->bits & IOR__FULL) && charge <= marks.low) {
        res->bits &= ~(uint32_t)IOR__FULL;
        if (!(res->bits & IOR__PAUSED) && ior_resource_unread(res, NULL, 0, NULL) > 0) {
            res->bits |= IOR__AGAIN;
            ior__ready_add(rt, res, IOR_READ);
        }
    }
    if (!(res->bits & IOR__OWED) || (res->bits & (IOR__IN_STARVED | IOR__CLOSING)) || charge > marks.low ||
        charge > room)
        return;
    res->bits &= ~(uint32_t)IOR__OWED;
    if (res->output)
        ((struct ior__output *)res->output)->need = 0;
    struct ior_event ev = {.type = IOR_EV_DRAINED};
    ior__tell(res, &ev);
}

void ior__flush(struct ior_resource *res)
{
    struct ior__output *out = res->output;
    if (out) {
        if (out->head && !(res->bits & (IOR__BLOCKED | IOR__WRITE_DEAD | IOR__BACKOFF | IOR__CONNECTING)))
            write_out(res);
        queue_release(res);
    }
    if (IOR_UNLIKELY(res->bits & (IOR__OWED | IOR__FULL)) && !(res->bits & (IOR__ENDING | IOR__WRITE_DEAD)))
        relax(res);
}

void ior__serve_starved(struct ior_runtime *rt)
{
    /* Everybody is let go at once; after that the first to send again are the first served. */
    uint64_t cap = rt->output_cap_bytes;
    uint64_t enough = cap - rt->starved_need < cap / 4 * 3 ? cap - rt->starved_need : cap / 4 * 3;
    if (!rt->starved || rt->output_bytes > enough)
        return;
    rt->starved = false;
    rt->starved_need = 0;
    for (uint32_t i = 0; i < rt->slots.made; i++) {
        struct ior_resource *res = ior__slots_at(&rt->slots, i);
        if (!res || !(res->bits & IOR__IN_STARVED))
            continue;
        res->bits &= ~(uint32_t)IOR__IN_STARVED;
        ior__work_add(rt, res);
    }
}

/* ---- leaving and entering runtimes ---- */

void ior__output_leave(struct ior_resource *res)
{
    struct ior__output *out = res->output;
    struct ior_runtime *rt = res->cx->rt;
    if (!out)
        return;
    rt->output_bytes -= out->memory;
    for (struct ior__piece *piece = out->head; piece; piece = piece->next) {
        if (piece->kind == IOR__PIECE_BUF)
            rt->output_bytes -= ior__buf_uncount(piece->buf, rt);
    }
}

int ior__output_enter(struct ior_resource *res, struct ior_runtime *rt)
{
    struct ior__output *out = res->output;
    if (!out)
        return 0;
    uint64_t memory = out->memory;
    for (struct ior__piece *piece = out->head; piece; piece = piece->next) {
        if (piece->kind == IOR__PIECE_BUF)
            memory += ior__buf_count(piece->buf, rt);
    }
    rt->output_bytes += memory;
    if (rt->output_bytes <= rt->output_cap_bytes)
        return 0;
    rt->output_bytes -= out->memory;
    for (struct ior__piece *piece = out->head; piece; piece = piece->next) {
        if (piece->kind == IOR__PIECE_BUF)
            rt->output_bytes -= ior__buf_uncount(piece->buf, rt);
    }
    return -ENOBUFS;
}

void ior__output_free(struct ior_resource *res, const struct ior_os *os)
{
    struct ior__output *out = res->output;
    if (!out)
        return;
    while (out->head)
        drop_head(out, NULL, os);
    res->output = NULL;
    output_put(NULL, out);
}

size_t ior_resource_unsent(const struct ior_resource *res, struct iovec *iov, int n, int *ret_n)
{
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
