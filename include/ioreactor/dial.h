/* SPDX-License-Identifier: Apache-2.0 */
/* Dialling: a host, a port and a deadline in; one connected stream, or one error with all its causes, out. */
#ifndef IOREACTOR_DIAL_H
#define IOREACTOR_DIAL_H

#include <ioreactor/addr.h>
#include <ioreactor/name.h>
#include <ioreactor/request.h>

#ifdef __cplusplus
extern "C" {
#endif

/* RFC 8305, section 8: the Connection Attempt Delay. */
#define IOR_DIAL_DELAY_NS_DEFAULT (UINT64_C(250) * 1000000)
#define IOR_DIAL_DELAY_NS_MIN (UINT64_C(10) * 1000000)
#define IOR_DIAL_DELAY_NS_MAX (UINT64_C(2000) * 1000000)

/* Zero means the default for every member; NULL for the whole struct means all defaults. */
struct ior_dial_options {
    uint32_t struct_size;  /* sizeof(struct ior_dial_options) */
    int family;            /* AF_INET or AF_INET6: only those addresses; default: both */
    uint32_t max_addrs;    /* addresses that are tried at most; default 16, at most IOR_ADDRS_MAX */
    uint32_t first_family; /* addresses of the first family before the first of the other; default 1 */
    uint64_t delay_ns;     /* after an attempt, until the next one joins it; default 250 ms, from 10 ms to 2 s */
    struct ior_stream_options stream; /* connect_ns counts for all: the look-up and all attempts. struct_size 0: all
                                         defaults */
};

/* What came of one address. */
struct ior_dial_cause {
    struct ior_addr addr; /* len 0: this is the look-up of the name */
    int error;            /* a positive errno value; 0: it was called off, or it is the one that is connected */
    int reserved;
};

/*
 * Dials: looks the host up and connects to its addresses by RFC 8305 (Happy Eyeballs): the families take turns, each
 * attempt has a head start before the next one joins it, one that fails lets the next one begin at once, and the first
 * that is connected ends the others. The id is that of a stream, connecting at first: its outcome is OPEN, or END; sends
 * answer -ENOTCONN before. Nothing is tried before this call returns: all that can fail is told as END. Its error is the
 * most telling one (a want of fds or memory here; refused; timed out; no route, no such network; of equals the first);
 * ior_dial_causes has them all.
 *
 * `host`, `port` and errors are as in ior_resolve. Addresses, and "unix:/path" with the port 0, need no look-up. All
 * requests may call it off at any time, as they may a connecting stream. A stream that is handed back without having
 * been connected has no fd: it can be looked at and freed.
 *
 * Each attempt counts as a resource of the runtime (config.max_resources) and an fd, and neither for ior_count.
 */
IOR_API int ior_dial(struct ior_context *cx, const char *host, unsigned port, const struct ior_dial_options *opts,
                     ior_id *ret_id);

/*
 * Inside IOR_EV_OPEN or IOR_EV_END of a dialled stream, or before: what came of the look-up and of each address so far,
 * in the order of the attempts; lent until the callback returns. Answers how many; 0 for a stream that was not dialled,
 * or is open. Errors: -EINVAL (no ret), -ENOENT, -EACCES.
 */
IOR_API int ior_dial_causes(struct ior_context *cx, ior_id id, const struct ior_dial_cause **ret);

#ifdef __cplusplus
}
#endif
#endif
