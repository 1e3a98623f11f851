/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sending, the request side of output: bytes, shared buffers and file ranges go to the end of a transport's queue, all
 * or none. The end of the turn writes them (output.c); nothing is written here, but for a buffer in very many queues.
 *
 * A send is taken where the transport's cap and the runtime's have room. What counts towards the transport's marks are
 * the bytes that it keeps in memory. Pieces cost something beyond their bytes (a block, a small one that may follow,
 * the fd of a file range); that sum has a bound of its own, so that memory and fds are bounded whatever the pieces are.
 * What counts towards the runtime's cap is memory: blocks, and each shared buffer once.
 */
#include <errno.h>
#include <string.h>

#include "buf.h"
#include "output.h"

#define SHARED_PIECE_BYTES 8192u /* a block that small sends share */
#define BORROW_ALIGN 64u         /* of what is read behind borrowed bytes: a line of the cache */

/* Why a transport takes no sends. */
static int send_refused(const struct ior_resource *res)
{
    if ((res->bits & (IOR__LISTENER | IOR__NO_WRITE)) || !res->ops->write)
        return -EOPNOTSUPP;
    return (res->bits & IOR__CONNECTING) ? -ENOTCONN : -EPIPE;
}

/* Finds a transport that takes sends. An ending one answers -EPIPE. */
static inline int find_writable(struct ior_context *cx, ior_id id, struct ior_resource **ret)
{
    struct ior_resource *res;
    int err = ior__find(cx, id, &res);
    *ret = NULL;
    if (IOR_UNLIKELY(err < 0))
        return err == -EALREADY ? -EPIPE : err;
    if (IOR_UNLIKELY((res->bits & IOR__NO_SEND_BITS) || !res->ops->write))
        return send_refused(res);
    ior__output_open(res);
    *ret = res;
    return 0;
}

/* ---- room ---- */

/* Refused because of the runtime's cap: DRAINED comes when its output has fallen, and so much fits. */
static void starve(struct ior_runtime *rt, struct ior_resource *res, uint64_t memory)
{
    uint64_t share = memory / (rt->output_cap_bytes / UINT16_MAX + 1) + 1; /* rounded up, in 1/65535 of the cap */
    rt->starved = true;
    rt->starved_level = UINT64_MAX;
    if (share > res->share)
        res->share = share < UINT16_MAX ? (uint16_t)share : UINT16_MAX;
}

/*
 * Looks whether so much more fits: 0, -EMSGSIZE (it never would) or -ENOBUFS (DRAINED is owed then). `memory` is what
 * it adds to the runtime's sum, without the queue's own block.
 */
static int admit(struct ior_resource *res, uint64_t charge, uint64_t cost, uint64_t memory)
{
    struct ior_runtime *rt = res->cx->rt;
    const struct ior__marks *marks = ior__marks_of(res);
    struct ior__output *out = res->output;
    uint64_t held = out ? out->charge : 0;
    uint64_t whole = memory + (out ? 0 : IOR__OUTPUT_BLOCK);
    if (charge > marks->cap || memory > rt->output_cap_bytes - IOR__OUTPUT_BLOCK)
        return -EMSGSIZE;
    bool over = held + charge > marks->cap ||
                (out && out->cost > 0 && out->cost + cost > IOR__COST_TIMES * marks->cap); /* the first always fits */
    while (rt->output_bytes + whole > rt->output_cap_bytes && rt->pool)
        ior__output_block_free(rt, ior__output_get(rt));
    bool starved = rt->output_bytes + whole > rt->output_cap_bytes;
    if (IOR_LIKELY(!over && !starved))
        return 0;
    if (over && charge > out->need)
        out->need = charge;
    if (starved)
        starve(rt, res, whole);
    res->bits |= IOR__OWED;
    ior__work_add(rt, res);
    return -ENOBUFS;
}

/* The queue of a resource, made where there is none. */
static struct ior__output *queue_of(struct ior_resource *res)
{
    struct ior_runtime *rt = res->cx->rt;
    struct ior__output *out = res->output;
    if (out)
        return out;
    if (rt->pool) {
        out = ior__output_get(rt);
        out->head = out->tail = NULL;
        out->bytes = out->charge = out->first_piece.end = 0;
    } else {
        out = ior__output_block_new(rt);
    }
    return res->output = out;
}

/* The bytes are in the queue: sums, marks, and the end of the turn will write them. */
static int taken(struct ior_runtime *rt, struct ior_resource *res, uint64_t bytes, uint64_t charge)
{
    struct ior__output *out = res->output;
    out->bytes += bytes;
    out->charge += charge;
    ior__work_add(rt, res);
    if (IOR_LIKELY(out->charge <= ior__marks_of(res)->high))
        return 0;
    res->bits |= IOR__FULL | IOR__OWED;
    return 1;
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

/* ---- copied bytes ---- */

static bool has_room(const struct ior__piece *piece, size_t len)
{
    return piece && piece->kind == IOR__PIECE_COPY && !piece->borrowed && piece->capacity - piece->end >= len;
}

/* How large a new block for `len` bytes is: small sends share one, unless shared buffers stand between them. */
static size_t copy_capacity(const struct ior__output *out, size_t len)
{
    const struct ior__piece *tail = out ? out->tail : NULL;
    size_t least = tail && tail->kind == IOR__PIECE_COPY ? SHARED_PIECE_BYTES - sizeof(*tail) : IOR__SMALL_PIECE_BYTES;
    return len < least ? least : len;
}

/* What copying `len` bytes adds to the runtime's sum, without the queue's own block. */
static uint64_t copy_memory(const struct ior__output *out, size_t len)
{
    if (out && out->tail ? has_room(out->tail, len) : len <= IOR__OUTPUT_ROOM)
        return 0;
    return sizeof(struct ior__piece) + copy_capacity(out, len);
}

/* A piece with room for `len` bytes at its end; NULL: out of memory. */
static struct ior__piece *piece_with_room(struct ior_runtime *rt, struct ior__output *out, size_t len)
{
    if (has_room(out->tail, len))
        return out->tail;
    struct ior__piece *piece = &out->first_piece;
    if (out->tail || len > IOR__OUTPUT_ROOM) {
        size_t capacity = copy_capacity(out, len);
        piece = ior__alloc(sizeof(*piece) + capacity);
        if (!piece)
            return NULL;
        *piece = (struct ior__piece){
            .bytes = (unsigned char *)(piece + 1), .capacity = (uint32_t)capacity, .kind = IOR__PIECE_COPY};
        out->memory += sizeof(*piece) + capacity;
        rt->output_bytes += sizeof(*piece) + capacity;
    }
    append(out, piece);
    return piece;
}

/* Room for `len` bytes at the end of the queue, or why not. The caller copies them there and calls taken. */
static int reserve(struct ior_resource *res, size_t len, unsigned char **ret)
{
    if (len > INT32_MAX)
        return -EMSGSIZE;
    int err = admit(res, len, 0, copy_memory(res->output, len));
    if (err < 0)
        return err;
    struct ior__output *out = queue_of(res);
    struct ior__piece *piece = out ? piece_with_room(res->cx->rt, out, len) : NULL;
    if (!piece) {
        ior__output_release(res);
        return -ENOMEM;
    }
    *ret = piece->bytes + piece->end;
    piece->end += len;
    return 0;
}

/*
 * Whether the queue can borrow these bytes, at least one, until the end of the turn: they are lent to the service just
 * now, and there is room to read behind them.
 */
static inline bool borrow(const struct ior_context *cx, const void *bytes, size_t len)
{
    struct ior_runtime *rt = cx->rt;
    const struct ior_event_data *lent = &cx->data_event.data;
    uintptr_t last = (uintptr_t)bytes + (len - 1);
    if (last - (uintptr_t)lent->bytes >= lent->len)
        return false; /* one object holds them all: where the last byte is lent, the others are */
    uintptr_t next = (last + BORROW_ALIGN) & ~(uintptr_t)(BORROW_ALIGN - 1);
    if (IOR_UNLIKELY(next > (uintptr_t)rt->read_last)) {
        rt->read_full = true;
        rt->read_short_most = 0; /* so that the next read looks */
        return false;
    }
    if (next > (uintptr_t)rt->read_at)
        rt->read_at = (unsigned char *)next;
    return true;
}

/*
 * The first bytes of a turn, mostly the only ones: they fit the block of a new queue, which is below every mark. False:
 * not so, and nothing has happened.
 */
static inline bool send_first(const struct ior_context *cx, struct ior_resource *res, const void *bytes, size_t len)
{
    struct ior_runtime *rt = cx->rt;
    struct ior__output *out = rt->pool;
    if (IOR_UNLIKELY((res->bits & IOR__SEND_UNUSUAL_BITS) || res->output || !out || len - 1 >= IOR__OUTPUT_ROOM))
        return false;
    bool borrowed = borrow(cx, bytes, len);
    if (IOR_UNLIKELY(!borrowed && !bytes))
        return false;
    out->small = (struct iovec){.iov_base = borrowed ? (void *)(uintptr_t)bytes : out->room, .iov_len = len};
    res->output = ior__output_get(rt);
    res->bits |= IOR__SMALL | (uint32_t)IOR__IN_WORK;
    ior__queue_add(&rt->work, res);
    if (!borrowed)
        memcpy(out->room, bytes, len);
    return true;
}

static inline struct ior_resource *find_own(const struct ior_context *cx, ior_id id)
{
    struct ior_resource *res = ior__slots_find(&cx->rt->slots, id);
    return res && res->cx == cx ? res : NULL;
}

static IOR_APART int send_more(struct ior_context *cx, ior_id id, const void *bytes, size_t len)
{
    struct ior_resource *res;
    int err = find_writable(cx, id, &res);
    if (IOR_UNLIKELY(err < 0))
        return err;
    if (IOR_UNLIKELY(!bytes && len > 0))
        return -EINVAL;
    if (IOR_UNLIKELY(ior__is_datagram(res)))
        return ior__datagram_send(res, &(struct iovec){.iov_base = (void *)(uintptr_t)bytes, .iov_len = len}, 1);
    if (IOR_UNLIKELY(len == 0))
        return 0;
    unsigned char *to;
    err = reserve(res, len, &to);
    if (err < 0)
        return err;
    struct ior__output *out = res->output;
    bool alone = out->tail->end == len;
    if (alone && borrow(cx, bytes, len)) {
        out->tail->bytes = (unsigned char *)(uintptr_t)bytes;
        out->tail->borrowed = out->borrows = true;
    } else {
        memcpy(to, bytes, len);
    }
    return taken(cx->rt, res, len, len);
}

/*
 * More bytes of a turn, as long as they fit the block of a small queue. One that is not on the work list is being
 * written by the engine, whose wait does not return for its sake: more bytes make it one like others.
 */
static IOR_APART int send_next(struct ior_context *cx, struct ior_resource *res, const void *bytes, size_t len)
{
    const uint32_t waits = IOR__SMALL | (uint32_t)IOR__IN_WORK;
    struct ior__output *out = res->output;
    if ((res->bits & (waits | IOR__NO_SEND_BITS)) != waits || !bytes || len > IOR__OUTPUT_ROOM - out->small.iov_len)
        return send_more(cx, res->id, bytes, len);
    if (out->small.iov_base != out->room) /* no longer borrowed */
        out->small.iov_base = memcpy(out->room, out->small.iov_base, out->small.iov_len);
    memcpy(out->room + out->small.iov_len, bytes, len);
    out->small.iov_len += len;
    return 0;
}

int ior_send(struct ior_context *cx, ior_id id, const void *bytes, size_t len)
{
    if (IOR_LIKELY(cx && ior__on_thread(cx->rt))) {
        struct ior_resource *res = cx->lent_to; /* mostly one answers whom one hears */
        if (!res || res->id != id)
            res = find_own(cx, id);
        if (IOR_LIKELY(res && send_first(cx, res, bytes, len)))
            return 0;
        if (res)
            return send_next(cx, res, bytes, len);
    }
    return send_more(cx, id, bytes, len);
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
    if (ior__is_datagram(res))
        return ior__datagram_send(res, iov, n);
    if (len == 0)
        return 0;
    unsigned char *to;
    err = reserve(res, len, &to);
    if (err < 0)
        return err;
    for (int i = 0; i < n; i++) {
        if (iov[i].iov_len > 0)
            memcpy(to, iov[i].iov_base, iov[i].iov_len);
        to += iov[i].iov_len;
    }
    return taken(cx->rt, res, len, len);
}

/* ---- shared buffers and files ---- */

/* A piece that holds no bytes of its own, at the end of the queue. NULL: out of memory. */
static struct ior__piece *piece_for(struct ior_resource *res, enum ior__piece_kind kind, uint32_t cost)
{
    struct ior_runtime *rt = res->cx->rt;
    struct ior__output *out = queue_of(res);
    if (!out)
        return NULL;
    struct ior__piece *piece = &out->first_piece;
    bool inside = out->head == NULL;
    if (!inside) {
        piece = ior__alloc(sizeof(*piece));
        if (!piece)
            return NULL;
        out->memory += sizeof(*piece);
        rt->output_bytes += sizeof(*piece);
    }
    *piece = (struct ior__piece){.kind = (uint8_t)kind, .cost = cost, .inside = inside};
    append(out, piece);
    out->cost += cost;
    return piece;
}

/*
 * So many queues hold one buffer before it is written to the first of them, to make room for the next: a message for
 * thousands would take a block for each, beyond what the pool keeps, and would find none of them in the cache again.
 * Those that are not to be written to now go to the end of the work list, a few of them for each send.
 */
#define BUF_QUEUES_MOST (IOR__POOL_MOST / 2)
#define EARLY_TRIES 4

/* A stream in its usual state that has nothing but this buffer to write. */
static bool holds_only(const struct ior_resource *res, const struct ior_buf *buf)
{
    const uint32_t usual = IOR__USUAL_BITS;
    const struct ior__output *out = res->output;
    return (res->bits & (usual | IOR__SMALL | IOR__WRITE_UNUSUAL_BITS)) == usual && out && out->head &&
           out->head == out->tail && out->head->kind == IOR__PIECE_BUF && out->head->buf == buf;
}

/* Writes its only piece, a shared buffer. True: that was all there was to do. Never calls back. */
static bool write_early(struct ior_resource *res)
{
    const struct ior_os *os = res->cx->rt->os;
    const struct ior__output *out = res->output;
    const struct ior__piece *piece = out->head;
    struct iovec iov = {.iov_base = (char *)(uintptr_t)piece->buf->bytes + piece->start,
                        .iov_len = (size_t)(piece->end - piece->start)};
    ssize_t n = os->send(os->arg, res->fd, &iov, 1);
    if (n > 0) {
        ior__output_consume(res, (uint64_t)n);
        ior__touch_idle(res);
    }
    if (IOR_LIKELY((size_t)n == iov.iov_len)) {
        ior__output_release(res);
        return true;
    }
    if (n >= 0 || n == -EAGAIN)
        res->bits |= IOR__BLOCKED;
    else if (n != -EINTR && n != -ENOBUFS && n != -ENOMEM) /* these are met again, where they can be told */
        ior__write_failed(res, (int)-n);
    return false;
}

static IOR_APART void make_room(struct ior_runtime *rt, const struct ior_buf *buf)
{
    for (int tries = 0; tries < EARLY_TRIES && rt->work.first; tries++) {
        struct ior_resource *res = ior__queue_pop(&rt->work);
        bool tried = holds_only(res, buf);
        if (tried && write_early(res))
            res->bits &= ~(uint32_t)IOR__IN_WORK;
        else
            ior__queue_add(&rt->work, res);
        if (tried)
            return;
    }
}

int ior_send_buf(struct ior_context *cx, ior_id id, struct ior_buf *buf)
{
    struct ior_resource *res;
    int err = find_writable(cx, id, &res);
    if (err < 0)
        return err;
    if (!buf)
        return -EINVAL;
    if (ior__is_datagram(res))
        return ior__datagram_send(res, &(struct iovec){.iov_base = (void *)(uintptr_t)buf->bytes, .iov_len = buf->len},
                                  1);
    if (buf->len == 0)
        return 0;
    err = admit(res, buf->len, IOR__PIECE_COST, sizeof(struct ior__piece) + ior__buf_would_count(buf, cx->rt));
    if (err < 0)
        return err;
    struct ior__piece *piece = piece_for(res, IOR__PIECE_BUF, IOR__PIECE_COST);
    if (!piece)
        return -ENOMEM;
    piece->buf = ior_buf_ref(buf);
    piece->end = buf->len;
    size_t counted = ior__buf_count(buf, cx->rt);
    cx->rt->output_bytes += counted;
    int r = taken(cx->rt, res, buf->len, buf->len);
    if (IOR_UNLIKELY(counted == 0 && buf->queued > BUF_QUEUES_MOST && !cx->rt->does_io))
        make_room(cx->rt, buf);
    return r;
}

int ior_send_file(struct ior_context *cx, ior_id id, int fd, uint64_t offset, uint64_t len)
{
    struct ior_resource *res;
    int err = find_writable(cx, id, &res);
    if (err < 0)
        return err;
    if (ior__is_datagram(res))
        return -EOPNOTSUPP;
    if (fd < 0)
        return -EBADF;
    if (offset > INT64_MAX || len > INT64_MAX - offset)
        return -EOVERFLOW;
    if (len == 0)
        return 0;
    err = admit(res, 0, IOR__FD_COST, sizeof(struct ior__piece));
    if (err < 0)
        return err;
    const struct ior_os *os = cx->rt->os;
    int own = os->dup(os->arg, fd);
    if (own < 0)
        return own;
    struct ior__piece *piece = piece_for(res, IOR__PIECE_FILE, IOR__FD_COST);
    if (!piece) {
        os->close(os->arg, own);
        return -ENOMEM;
    }
    piece->fd = own;
    piece->start = offset;
    piece->end = offset + len;
    return taken(cx->rt, res, len, 0);
}

/* ---- for pieces and queues of another form ---- */

int ior__send_find(struct ior_context *cx, ior_id id, struct ior_resource **ret)
{
    return find_writable(cx, id, ret);
}

void ior__send_append(struct ior__output *out, struct ior__piece *piece)
{
    append(out, piece);
}

int ior__send_admit(struct ior_resource *res, uint64_t charge, uint64_t cost, uint64_t memory)
{
    return admit(res, charge, cost, memory);
}

struct ior__output *ior__send_queue(struct ior_resource *res)
{
    return queue_of(res);
}

int ior__send_taken(struct ior_resource *res, uint64_t bytes, uint64_t charge)
{
    return taken(res->cx->rt, res, bytes, charge);
}

uint64_t ior_queued(struct ior_context *cx, ior_id id)
{
    struct ior_resource *res;
    return ior__find(cx, id, &res) < 0 ? 0 : ior__output_left(res);
}
