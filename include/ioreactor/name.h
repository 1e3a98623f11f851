/* SPDX-License-Identifier: Apache-2.0 */
/* Names: look-ups by the system's resolver, on threads for blocking work, told as events. */
#ifndef IOREACTOR_NAME_H
#define IOREACTOR_NAME_H

#include <ioreactor/addr.h>

#ifdef __cplusplus
extern "C" {
#endif

struct ior_context;

/* The most addresses that are kept of a name. */
#define IOR_ADDRS_MAX 64u

/* Zero means the default for every member; NULL for the whole struct means all defaults. */
struct ior_resolve_options {
    uint32_t struct_size; /* sizeof(struct ior_resolve_options) */
    int family;           /* AF_INET or AF_INET6: only those addresses; default: both */
    uint32_t max_addrs;   /* default 16, at most IOR_ADDRS_MAX */
    uint32_t reserved;
    void *user;          /* comes with each event */
    uint64_t timeout_ns; /* give up after this time; 0: as long as the resolver takes */
};

/* What comes with IOR_EV_RESOLVED: lent until the callback returns. */
struct ior_resolved {
    const struct ior_addr *addrs; /* with the port, in the order in which they should be tried (RFC 6724) */
    uint32_t count;
    uint32_t total; /* how many the name has: more than `count` where that is max_addrs */
};

/*
 * Looks a name up: IOR_EV_RESOLVED, then IOR_EV_END (IOR_EOF); or END alone with the cause (IOR_ERROR): ENOENT (there
 * is no such name, or it has no such address), EAGAIN (the resolver got no answer, or cannot answer now), EIO (the
 * answer was a failure), ENOMEM, EMFILE ...; or IOR_TIMEOUT. ior_unregister and ior_close call it off.
 *
 * `host` is a name of at most 253 bytes (254 with a dot at its end), an address ("192.0.2.1", "2001:db8::1",
 * "fe80::1%eth0", brackets are allowed), or "unix:/path" with the port 0; addresses are told without a look-up, from
 * the loop. The port is 1 to 65535. The strings are copied.
 *
 * The resolver cannot be interrupted: a look-up that was called off keeps its thread (of IOR_LANE_NAMES) until the
 * resolver comes back. Errors: -EINVAL (no host, a blank or control character in it, no such port), -ENAMETOOLONG
 * (nothing is ever cut), -EAFNOSUPPORT (an address of another family), -ENODEV (an unknown zone), -EAGAIN (too many
 * look-ups are waiting), -ENOSYS (a world without names).
 */
IOR_API int ior_resolve(struct ior_context *cx, const char *host, unsigned port, const struct ior_resolve_options *opts,
                        ior_id *ret_id);

#ifdef __cplusplus
}
#endif
#endif
