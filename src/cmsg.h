/* SPDX-License-Identifier: Apache-2.0 */
/* Control messages, cmsg(3). */
#ifndef IOR_SRC_CMSG_H
#define IOR_SRC_CMSG_H

#include <stddef.h>
#include <sys/socket.h>

/* musl's macro mixes signed and unsigned. */
#if defined(__GNUC__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wsign-conversion"
#pragma GCC diagnostic ignored "-Wsign-compare"
#endif
static inline struct cmsghdr *ior__cmsg_next(struct msghdr *msg, struct cmsghdr *header)
{
    return CMSG_NXTHDR(msg, header);
}
#if defined(__GNUC__)
#pragma GCC diagnostic pop
#endif

#endif
