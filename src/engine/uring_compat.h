/* SPDX-License-Identifier: Apache-2.0 */
/* What the headers of liburing 2.3 lack, each with the kernel that brought it. Whether it is there is asked at run time. */
#ifndef IOR_SRC_ENGINE_URING_COMPAT_H
#define IOR_SRC_ENGINE_URING_COMPAT_H

#include <liburing.h>
#include <stdint.h>
#include <sys/syscall.h>

/* Linux 6.12: a completion that did not use up its buffer, which goes on in it. An enumerator of newer headers. */
#define IOR__URING_CQE_F_BUF_MORE (1u << 4)

/* Linux 6.12: buffers of a ring are used up piece by piece. */
#define IOR__URING_PBUF_RING_INC 2

/* Linux 6.15: a wait for what is in flight is not counted as one for a disk (iowait). */
#define IOR__URING_FEAT_NO_IOWAIT (1u << 17)
#define IOR__URING_ENTER_NO_IOWAIT (1u << 7)

/* struct io_uring_buf_reg, whose `flags` are padding in headers before Linux 6.4. */
struct ior__uring_buf_reg {
    uint64_t ring_addr;
    uint32_t ring_entries;
    uint16_t bgid;
    uint16_t flags;
    uint64_t resv[3];
};
_Static_assert(sizeof(struct ior__uring_buf_reg) == sizeof(struct io_uring_buf_reg), "the kernel's layout");

/* Linux 6.5: what the page cache has of a file. One number on all architectures but Alpha and MIPS. */
#if defined(SYS_cachestat)
#define IOR__SYS_CACHESTAT SYS_cachestat
#elif defined(__mips__) || defined(__alpha__)
#define IOR__SYS_CACHESTAT (-1) /* answers ENOSYS */
#else
#define IOR__SYS_CACHESTAT 451
#endif

struct ior__cachestat_range {
    uint64_t off, len;
};

struct ior__cachestat {
    uint64_t nr_cache, nr_dirty, nr_writeback, nr_evicted, nr_recently_evicted; /* pages */
};

/* 0; -EOPNOTSUPP: the kernel is older than Linux 6.1; or why it does not say. (uring_ring.c) */
int ior__uring_look_for_all(struct io_uring *ring);

/* Linux 6.1: the last operation that brought, which tells a kernel that has all that is needed. */
#define IOR__URING_OP_SENDMSG_ZC 48

#endif
