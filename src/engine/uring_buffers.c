/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The buffers that the kernel receives into: one ring of them for all streams of an engine. Where the kernel can
 * (Linux 6.12), a buffer is used up piece by piece, so that small messages do not cost a whole one each.
 *
 * A buffer is the kernel's (`given`), or has pieces that are held here, or both. It goes back once the kernel is
 * through with it and the last piece was taken, whole.
 *
 * The memory comes from mmap: the kernel wants the ring in pages of its own, and buffers nobody used cost nothing.
 *
 * Invariants: `given` counts the buffers with given set; each buffer is at most once in the ring, so that the ring,
 * being as large as their number, is never over-full; the tail is stored after the entry it makes visible.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#if defined(IOR_URING)
#include "uring.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#define GROUP 0

static void *map(size_t len)
{
    void *mem = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    return mem == MAP_FAILED ? NULL : mem;
}

static size_t ring_bytes(const struct uring_buffers *buffers)
{
    return buffers->count * sizeof(struct io_uring_buf);
}

static int register_ring(struct uring_buffers *buffers, struct io_uring *ring)
{
    struct ior__uring_buf_reg reg = {
        .ring_addr = (uint64_t)(uintptr_t)buffers->ring,
        .ring_entries = buffers->count,
        .bgid = GROUP,
        .flags = buffers->incremental ? IOR__URING_PBUF_RING_INC : 0,
    };

    return io_uring_register_buf_ring(ring, (struct io_uring_buf_reg *)(void *)&reg, 0);
}

void ior__uring_buffer_give(struct uring_buffers *buffers, uint32_t index)
{
    struct uring_buffer *buffer = &buffers->all[index];

    buffer->given = true;
    buffer->at = 0;
    buffers->given++;
    io_uring_buf_ring_add(buffers->ring, buffers->bytes + (size_t)index * buffers->size, buffers->size,
                          (unsigned short)index, io_uring_buf_ring_mask(buffers->count), 0);
    io_uring_buf_ring_advance(buffers->ring, 1); /* a store with release */
}

int ior__uring_buffers_move(struct uring_buffers *buffers, struct io_uring *ring)
{
    memset(buffers->ring, 0, ring_bytes(buffers));
    int err = register_ring(buffers, ring);
    if (err < 0)
        return err;
    buffers->given = 0;
    for (uint32_t i = 0; i < buffers->count; i++) {
        buffers->all[i].given = false;
        if (buffers->all[i].held == 0)
            ior__uring_buffer_give(buffers, i);
    }
    return 0;
}

/* Asks for buffers that are used up piece by piece, and then for plain ones. */
static int open_kind(struct uring_buffers *buffers, struct io_uring *ring, uint32_t count, uint32_t size,
                     bool incremental)
{
    buffers->incremental = incremental;
    buffers->count = count ? count : incremental ? 16 : 256;
    buffers->size = size ? size : incremental ? 65536 : 4096;
    buffers->ring = map(ring_bytes(buffers));
    buffers->bytes = map((size_t)buffers->count * buffers->size);
    buffers->all = ior__calloc(buffers->count * sizeof(*buffers->all));
    int err = buffers->ring && buffers->bytes && buffers->all ? 0 : -ENOMEM;
    if (err == 0)
        err = ior__uring_buffers_move(buffers, ring);
    if (err < 0)
        ior__uring_buffers_close(buffers);
    return err;
}

int ior__uring_buffers_open(struct uring_buffers *buffers, struct io_uring *ring,
                            const struct ior_uring_options *options)
{
    int err = -EINVAL;

    if (!(options->flags & IOR_URING_WHOLE_BUFFERS))
        err = open_kind(buffers, ring, options->buffers, options->buffer_bytes, true);
    return err == -EINVAL ? open_kind(buffers, ring, options->buffers, options->buffer_bytes, false) : err;
}

void ior__uring_buffers_close(struct uring_buffers *buffers)
{
    if (buffers->ring)
        munmap(buffers->ring, ring_bytes(buffers));
    if (buffers->bytes)
        munmap(buffers->bytes, (size_t)buffers->count * buffers->size);
    ior__free(buffers->all, buffers->count * sizeof(*buffers->all));
    *buffers = (struct uring_buffers){.ring = NULL};
}
#else
/* ISO C wants a declaration in every file. */
extern const int ior__no_uring_buffers;
#endif
