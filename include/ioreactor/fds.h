/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fds over Unix streams (unix(7), SCM_RIGHTS), and who is at their other end. Requests: their common errors are those of
 * <ioreactor/request.h>.
 *
 * Fds go along with bytes: the receiver is told IOR_EV_FDS right before the DATA that has the first of these bytes. That
 * DATA may begin with bytes that were sent earlier, so a protocol says by its bytes which fds belong to what; the order
 * of several sets is kept, and no two are joined.
 */
#ifndef IOREACTOR_FDS_H
#define IOREACTOR_FDS_H

#include <ioreactor/os.h>
#include <ioreactor/request.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What comes with IOR_EV_FDS. */
struct ior_fds {
    uint32_t count; /* how many can be taken; 0 where all were lost */
    bool lost;      /* there were more, for which this process, or the system, had no room (EMFILE): they are gone */
};

/*
 * Sends bytes with `n` fds, in order with all else that is sent and all or none, as ior_send (whose answers it has). The
 * queue holds dups, so the caller's fds stay its own and may be closed at once; a dup goes out once, and is closed when
 * it did, or with the queue: at a handover they stay in it. Some 48 fds wait in a queue with the default cap; a single
 * send of more always fits an empty one. An fd that the kernel refuses to pass (io_uring's, from Linux 6.7) ends the
 * transport with the kernel's error; where too many are under way in the system (ETOOMANYREFS) it is tried again, as
 * without memory.
 * Further errors: -EINVAL (no bytes, no fd, or more than IOR_FDS_MAX), -EBADF, -EMFILE, -EOPNOTSUPP (no Unix stream, or
 * simulated), those of getsockname(2).
 */
IOR_API int ior_send_fds(struct ior_context *cx, ior_id id, const void *bytes, size_t len, const int *fds, unsigned n);

/*
 * Only inside IOR_EV_FDS: the fd at `index`, from 0 on, is the caller's from here on. It is close-on-exec, never 0, 1 or
 * 2, and whether it is non-blocking is its sender's affair. Errors: -EINVAL (not this event, no such index), -EALREADY
 * (taken before).
 */
IOR_API int ior_take_fd(struct ior_context *cx, const struct ior_event *ev, unsigned index);

/* Who connected, or listened, as it was then. */
struct ior_credentials {
    int64_t
        pid; /* in this process's namespace; 0 where it is in none that is seen from here, or the system doesn't say */
    uint32_t uid, gid;
};

/*
 * The credentials of a Unix stream's peer, told by the kernel (SO_PEERCRED; LOCAL_PEERCRED on macOS and FreeBSD).
 * Errors: -EOPNOTSUPP (no Unix stream, or a system that does not tell), -ENOTCONN (still connecting), those of
 * getsockopt(2) and getsockname(2).
 */
IOR_API int ior_peer_credentials(struct ior_context *cx, ior_id id, struct ior_credentials *ret);

#ifdef __cplusplus
}
#endif
#endif
