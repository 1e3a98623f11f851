/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Buffers that are given away or shared: immutable bytes with an atomic reference count. One buffer can be in the
 * queues of any number of transports, in several runtimes at once, without being copied.
 */
#ifndef IOREACTOR_BUF_H
#define IOREACTOR_BUF_H

#include <ioreactor/base.h>

#ifdef __cplusplus
extern "C" {
#endif

struct ior_buf;

/* A buffer with a copy of the bytes; the caller holds one reference. NULL: out of memory. Any thread. */
IOR_API struct ior_buf *ior_buf_copy(const void *bytes, size_t len);

/*
 * A buffer around the caller's bytes, which must stay as they are until `release(arg)` is called, once, when the last
 * reference is gone. The runtime drops its references from the loop, so release runs there and never inside a
 * request; where the caller's own ior_buf_unref is the last one, it runs in that call. It must not call requests.
 * NULL: out of memory (release is not called, the bytes stay the caller's). Any thread.
 */
IOR_API struct ior_buf *ior_buf_wrap(void *bytes, size_t len, void (*release)(void *arg), void *arg);

/* One reference more; answers `buf`. Any thread. */
IOR_API struct ior_buf *ior_buf_ref(struct ior_buf *buf);

/* One reference less; NULL does nothing. Any thread. */
IOR_API void ior_buf_unref(struct ior_buf *buf);

/* The bytes, and how many there are. Any thread. */
IOR_API const void *ior_buf_bytes(const struct ior_buf *buf);
IOR_API size_t ior_buf_len(const struct ior_buf *buf);

#ifdef __cplusplus
}
#endif
#endif
