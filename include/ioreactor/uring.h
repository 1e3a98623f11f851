/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sizes of the engine "uring", for config.engine_arg; other engines ignore them. The defaults are made for servers;
 * docs/engines.md says what each of them costs.
 */
#ifndef IOREACTOR_URING_H
#define IOREACTOR_URING_H

#include <ioreactor/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ior_uring_options.flags. */
enum {
    IOR_URING_WHOLE_BUFFERS = 1, /* each receive uses up a whole buffer, as it has to before Linux 6.12 */
};

/* Zero means the default for every member. */
struct ior_uring_options {
    uint32_t struct_size;  /* sizeof(struct ior_uring_options) */
    uint32_t flags;        /* IOR_URING_... */
    uint32_t entries;      /* the submission queue; a power of two, default 512, at most 32768 */
    uint32_t completions;  /* the completion queue; a power of two, default 4096, at most 65536, more than entries */
    uint32_t buffers;      /* shared by all streams; a power of two, default 16 (whole ones: 256), at most 32768 */
    uint32_t buffer_bytes; /* of each: default 65536 (whole ones: 4096), at most 2^24 */
    uint32_t held_bytes; /* received and not taken: past it, the engine stops to receive for a stream; default 262144 */
    uint32_t reserved;   /* 0 */
};

#ifdef __cplusplus
}
#endif
#endif
