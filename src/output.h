/* SPDX-License-Identifier: Apache-2.0 */
/* Pending writes of a transport, see output.c. */
#ifndef IOR_SRC_OUTPUT_H
#define IOR_SRC_OUTPUT_H

#include <string.h>

#include "datagram.h"
#include "kinds.h"

enum ior__piece_kind {
    IOR__PIECE_COPY = 1, /* bytes of its own, behind the struct or in the output's own block */
    IOR__PIECE_BUF,      /* a reference to a shared buffer */
    IOR__PIECE_FILE,     /* a range of a file: a dup of its fd */
    IOR__PIECE_FDS,      /* bytes of its own, the first of which goes out with fds: dups, at the end of its room */
};

/* A piece of the queue. What is left of it: start .. end. */
struct ior__piece {
    struct ior__piece *next;
    uint64_t start, end; /* FILE: absolute offsets; the others: within bytes */
    union {
        unsigned char *bytes; /* COPY, FDS */
        struct ior_buf *buf;  /* BUF */
        int fd;               /* FILE */
    };
    uint32_t capacity; /* COPY, FDS: room behind bytes */
    uint32_t cost;     /* of its bookkeeping */
    uint8_t kind;
    uint8_t fds;   /* FDS: how many */
    bool inside;   /* it is output.first_piece, not a block of its own */
    bool borrowed; /* COPY: bytes is in the read buffer; the room of its own has not been used yet */
};

/* The fds of a piece. */
static inline int *ior__piece_fds(const struct ior__piece *piece)
{
    return (int *)(void *)(piece->bytes + piece->capacity) - piece->fds;
}

/* What a piece costs besides its bytes: itself and a small one of copied bytes that may follow it. */
#define IOR__SMALL_PIECE_BYTES 64u
#define IOR__PIECE_COST (2 * (uint32_t)sizeof(struct ior__piece) + IOR__SMALL_PIECE_BYTES)
#define IOR__FD_COST 16384u /* so that one transport cannot hold all the process's fds */

/* How much the bookkeeping of a queue (pieces, small blocks between them, fds of files) may cost, in caps. */
#define IOR__COST_TIMES 4u

/* What one output block holds of copied bytes without any further allocation. */
#define IOR__OUTPUT_BLOCK 2048u

struct ior__output {
    struct iovec small; /* the bytes of a small queue: in `room`, or borrowed */
    struct ior__piece *head, *tail;
    uint64_t bytes;           /* what is left to write, file ranges included */
    uint64_t charge;          /* what counts towards the marks: bytes, but those of file ranges */
    uint64_t cost;            /* of the pieces' bookkeeping; at most IOR__COST_TIMES the cap */
    uint64_t memory;          /* what counts towards the runtime's cap, shared buffers left out */
    uint64_t need;            /* DRAINED waits until so much room is there, towards the cap */
    struct ior__output *next; /* of the pool, or of those the engine writes */
    struct ior__output *previous;
    struct ior_resource *owner; /* set while the engine writes the first `in_flight` bytes */
    uint64_t in_flight;         /* without an owner: they are written, and still in the queue; 0: none */
    const struct ior_os *os;    /* of a queue that has left its runtime: what closes its files */
    struct ior__piece first_piece;
    bool borrows; /* a piece is borrowed */
    unsigned char room[];
};

#define IOR__OUTPUT_ROOM ((uint32_t)(IOR__OUTPUT_BLOCK - sizeof(struct ior__output)))

/* The marks of a transport: of its stream options, or the defaults for the user's own kinds. */
static inline const struct ior__marks *ior__marks_of(const struct ior_resource *res)
{
    if (IOR_LIKELY(res->bits & IOR__STREAM))
        return &((const struct ior__stream *)(const void *)res)->opts->marks;
    const struct ior__kind *kind = ior__kind_of(res);
    return kind && kind->marks ? kind->marks(res) : &res->cx->rt->default_marks;
}

/* ---- blocks: a pool of the runtime ---- */

/* What the queues hold; the pool counts towards the cap too, but is given up before a send is refused. */
uint64_t ior__output_held(const struct ior_runtime *rt);

/* A new block: a queue without pieces, with room for IOR__OUTPUT_ROOM bytes in its first one. NULL: out of memory. */
struct ior__output *ior__output_block_new(struct ior_runtime *rt);
void ior__output_block_free(struct ior_runtime *rt, struct ior__output *out);

/*
 * A block of the pool, which must have one. Its head, tail, sums and where its first piece ends are still to be set.
 */
static inline struct ior__output *ior__output_get(struct ior_runtime *rt)
{
    struct ior__output *out = rt->pool;
    rt->pool = out->next;
    return out;
}

static inline void ior__output_put(struct ior_runtime *rt, struct ior__output *out)
{
    out->next = rt->pool;
    rt->pool = out;
}

#define IOR__POOL_MOST 256u /* blocks */

/* Makes a small queue (IOR__SMALL) one like others. */
static inline void ior__output_open(struct ior_resource *res)
{
    struct ior__output *out = res->output;
    if (!(res->bits & IOR__SMALL))
        return;
    res->bits &= ~IOR__SMALL;
    if (out->small.iov_base != out->room)
        memcpy(out->room, out->small.iov_base, out->small.iov_len);
    out->head = out->tail = &out->first_piece;
    out->first_piece.end = out->charge = out->bytes = out->small.iov_len;
}

/* What sending does, for queues of another form (datagrams): looks for room, makes the queue, counts what was added. */
int ior__send_admit(struct ior_resource *res, uint64_t charge, uint64_t cost, uint64_t memory);
struct ior__output *ior__send_queue(struct ior_resource *res);
int ior__send_taken(struct ior_resource *res, uint64_t bytes, uint64_t charge);

/* Gives the queue back, if it has no pieces. */
void ior__output_release(struct ior_resource *res);

/* What is left to write of a resource, in bytes. */
static inline uint64_t ior__output_left(const struct ior_resource *res)
{
    const struct ior__output *out = res->output;
    if (!out)
        return 0;
    return (res->bits & IOR__SMALL) ? out->small.iov_len : out->bytes;
}

/* What a queue borrows goes into the room that was made for it. */
void ior__output_move_borrowed(struct ior__output *out);
static inline void ior__output_keep(struct ior__output *out)
{
    if (IOR_UNLIKELY(out->borrows))
        ior__output_move_borrowed(out);
}

/* Borrowed bytes of all queues are moved into them: the read buffer is needed. Not at the end of the turn. */
void ior__output_keep_all(struct ior_runtime *rt);

/* Makes a block an empty queue. */
void ior__output_prime(struct ior__output *out);

/* `n` bytes of the front were written. */
void ior__output_consume(struct ior_resource *res, uint64_t n);

/* What a write came to: `r` is 1 (go on), 0 (the kernel took less than all), IOR__IN_FLIGHT or -errno. */
#define IOR__IN_FLIGHT 2 /* the engine has begun it */
void ior__output_wrote(struct ior_resource *res, int r);

/*
 * fds.c. Closes the fds of a piece that go out no more, or have: what is left of it are bytes. Writes the piece at the
 * front with its fds, and answers as writes do: 1: all went out, 0: the kernel took less, else -errno.
 */
void ior__fds_close(struct ior__output *out, struct ior__piece *piece, const struct ior_os *os);
int ior__fds_write(struct ior_resource *res);

/* send.c. For other ways of sending: finds a transport that takes sends; puts a piece behind the others. */
int ior__send_find(struct ior_context *cx, ior_id id, struct ior_resource **ret);
void ior__send_append(struct ior__output *out, struct ior__piece *piece);

/* Step 5 of the turn: writes what the kernel takes, then tells DRAINED where it is owed. */
void ior__flush(struct ior_resource *res);

/*
 * The same for a stream with nothing else to settle and with IOR__SMALL. True: the kernel took it all, which leaves
 * nothing to do, and it is off the work list; else it is settled like any other.
 */
void ior__flush_small_less(struct ior_resource *res, ssize_t n);
static inline bool ior__flush_small(struct ior_runtime *rt, struct ior_resource *res)
{
    struct ior__output *out = res->output;
    ssize_t n = rt->os->send(rt->os->arg, res->fd, &out->small, 1);
    if (IOR_UNLIKELY((size_t)n != out->small.iov_len)) {
        ior__flush_small_less(res, n);
        return false;
    }
    res->bits &= ~(IOR__SMALL | (uint32_t)IOR__IN_WORK);
    res->written += (size_t)n;
    res->output = NULL;
    ior__touch_idle_at(res, rt->now_ns);
    ior__output_put(rt, out);
    return true;
}

/*
 * For engines that do the I/O, see sending.c. The engine begins to write the first `len` bytes (IOR__IN_FLIGHT, -errno),
 * or has done it: 1, and what came of it.
 * Once the wait is over, what it wrote is known. Where a resource ends before that, ior__send_stop finds out, and
 * ior__send_settle takes it out of the queue.
 */
int ior__send_begin(struct ior_resource *res, const struct iovec *iov, int n, uint64_t len, ssize_t *ret_written);
bool ior__send_small(struct ior_resource *res); /* as ior__flush_small */
void ior__sends_done(struct ior_runtime *rt);
void ior__send_stop(struct ior_resource *res);
void ior__send_settle(struct ior_resource *res);

/* A write failed for good: writing stops, what is to be read is read, then END with the first cause. */
void ior__write_failed(struct ior_resource *res, int error);

/* Whoever was refused because of the runtime's cap is told, where its output has fallen; the pool is kept small. */
void ior__serve_starved(struct ior_runtime *rt);
void ior__output_trim(struct ior_runtime *rt);
static inline void ior__output_relieve(struct ior_runtime *rt)
{
    if (IOR_UNLIKELY(rt->starved))
        ior__serve_starved(rt);
    if (IOR_UNLIKELY(rt->blocks > IOR__POOL_MOST))
        ior__output_trim(rt);
}

/* Takes a queue out of the accounts of a runtime (END), or into them (registration; -ENOBUFS over the cap). */
void ior__output_leave(struct ior_resource *res);
int ior__output_enter(struct ior_resource *res, struct ior_runtime *rt);

/* Frees a queue that is in no runtime's accounts. */
void ior__output_free(struct ior_resource *res, const struct ior_os *os);

void ior__output_pool_free(struct ior_runtime *rt);

#endif
