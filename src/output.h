/* SPDX-License-Identifier: Apache-2.0 */
/* Pending writes of a transport, see output.c. */
#ifndef IOR_SRC_OUTPUT_H
#define IOR_SRC_OUTPUT_H

#include "core.h"

enum ior__piece_kind {
    IOR__PIECE_COPY = 1, /* bytes of its own, behind the struct or in the output's own block */
    IOR__PIECE_BUF,      /* a reference to a shared buffer */
    IOR__PIECE_FILE,     /* a range of a file: a dup of its fd */
};

/* A piece of the queue. What is left of it: start .. end. */
struct ior__piece {
    struct ior__piece *next;
    uint64_t start, end; /* COPY, BUF: within bytes; FILE: absolute offsets */
    union {
        unsigned char *bytes; /* COPY */
        struct ior_buf *buf;  /* BUF */
        int fd;               /* FILE */
    };
    uint32_t capacity; /* COPY: room behind bytes */
    uint8_t kind;
    bool inside; /* it is output.first_piece, not a block of its own */
};

/* What one output block holds of copied bytes without any further allocation. */
#define IOR__OUTPUT_BLOCK 2048u

struct ior__output {
    struct ior__piece *head, *tail;
    uint64_t bytes;  /* what is left to write, file ranges included */
    uint64_t charge; /* what counts towards the marks */
    uint64_t memory; /* what counts towards the runtime's cap, shared buffers left out */
    uint64_t need;   /* DRAINED waits until so much room is there */
    struct ior__output *next; /* of the pool */
    struct ior__piece first_piece;
    unsigned char room[];
};

#define IOR__OUTPUT_ROOM ((uint32_t)(IOR__OUTPUT_BLOCK - sizeof(struct ior__output)))

/* The marks of a transport: of its stream options, or the defaults for the user's own kinds. */
struct ior__marks {
    uint64_t high, low, cap;
};
struct ior__marks ior__marks_of(const struct ior_resource *res);

/* What is left to write of a resource, in bytes. */
static inline uint64_t ior__output_left(const struct ior_resource *res)
{
    const struct ior__output *out = res->output;
    return out ? out->bytes : 0;
}

/* Step 5 of the turn: writes what the kernel takes, then tells DRAINED where it is owed. */
void ior__flush(struct ior_resource *res);

/* A write failed for good: writing stops, what is to be read is read, then END with the first cause. */
void ior__write_failed(struct ior_resource *res, int error);

/* The runtime's output has fallen: whoever was refused because of its cap is told. */
void ior__serve_starved(struct ior_runtime *rt);

/* Takes a queue out of the accounts of a runtime (END), or into them (registration; -ENOBUFS over the cap). */
void ior__output_leave(struct ior_resource *res);
int ior__output_enter(struct ior_resource *res, struct ior_runtime *rt);

/* Frees a queue that is in no runtime's accounts. */
void ior__output_free(struct ior_resource *res, const struct ior_os *os);

void ior__output_pool_free(struct ior_runtime *rt);

#endif
