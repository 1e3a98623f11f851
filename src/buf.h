/* SPDX-License-Identifier: Apache-2.0 */
/* Shared buffers as the output queue sees them, see buf.c. */
#ifndef IOR_SRC_BUF_H
#define IOR_SRC_BUF_H

#include <ioreactor/buf.h>
#include <stdatomic.h>

struct ior_runtime;

struct ior_buf {
    _Atomic uint32_t refs;
    uint32_t queued;                          /* references held by the queues of `counted_by`; its thread's */
    _Atomic(struct ior_runtime *) counted_by; /* the runtime that counts the bytes once */
    const void *bytes;
    size_t len;
    void (*release)(void *arg); /* NULL: the bytes follow the struct */
    void *arg;
};

/* One more place in a queue of `rt`: what that adds to the memory its queues hold, in bytes. */
size_t ior__buf_count(struct ior_buf *buf, struct ior_runtime *rt);

/* What ior__buf_count would answer. */
size_t ior__buf_would_count(const struct ior_buf *buf, const struct ior_runtime *rt);

/* One place in a queue of `rt` less: what that takes from the memory its queues hold. */
size_t ior__buf_uncount(struct ior_buf *buf, struct ior_runtime *rt);

#endif
