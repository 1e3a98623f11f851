/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Datagrams: UDP over IPv4 and IPv6, and Unix datagram sockets. Each message is one event and keeps its borders, its
 * peer and the address it came to. The requests of other resources hold: ior_pause, ior_resume, ior_close (writes what
 * is queued), ior_unregister, ior_deadline, ior_local, handover and ior_register. No OPEN is told: a datagram socket
 * can be used at once.
 */
#ifndef IOREACTOR_DATAGRAM_H
#define IOREACTOR_DATAGRAM_H

#include <ioreactor/addr.h>
#include <ioreactor/event.h>

#ifdef __cplusplus
extern "C" {
#endif

struct ior_context;

/* What ior_datagram_options.max_bytes is by default: no UDP datagram is longer. */
#define IOR_DATAGRAM_MAX_BYTES 65535u

/*
 * With IOR_EV_DATAGRAM: one that came, whole. With IOR_EV_SEND_ERROR: one that was not delivered, as far as the system
 * tells; the socket goes on. Lent until the callback returns, `peer` and `local` too.
 */
struct ior_datagram {
    const void *bytes; /* of one that was not sent: NULL where the system does not say which it was */
    size_t len;        /* 0 is a datagram without bytes. Of an ICMP error: of the bytes that came back, maybe not all */
    const struct ior_addr *peer;  /* from whom, or to whom; len 0: unknown, or a Unix socket without a name */
    const struct ior_addr *local; /* to which address, with tell_local; else the one that is bound */
    uint32_t interface;           /* with tell_local: the index of the one it came through; 0: unknown */
    bool truncated;               /* it was longer than max_bytes: the rest is lost */
    bool was_sent;                /* IOR_EV_SEND_ERROR: it had left, and an error came back; else it never did */
    int error;                    /* IOR_EV_SEND_ERROR: a positive errno value; else 0 */
};

/*
 * Zero means the default for every member; NULL for the whole struct means all defaults.
 *
 * The queue of datagrams to be sent is bounded as that of a stream is: above high_bytes a send answers 1 and, unless
 * read_when_full, reading stops until the queue has fallen to low_bytes; past cap_bytes it is refused. Bytes of
 * addresses do not count, but the number of datagrams is bounded too. A cap below high_bytes + max_bytes is -EINVAL.
 */
struct ior_datagram_options {
    uint32_t struct_size;         /* sizeof(struct ior_datagram_options) */
    unsigned unix_mode;           /* Unix paths: permission bits (0777); 0: what the umask leaves. Linux: at no time
                                     more than these; elsewhere they are set right after binding */
    bool reuse_addr;              /* SO_REUSEADDR: several sockets may bind a multicast group's port */
    bool reuse_port;              /* SO_REUSEPORT: the kernel shares datagrams out among several sockets */
    bool v6_only;                 /* IPv6: no IPv4 peers on the wildcard address */
    bool broadcast;               /* SO_BROADCAST: IPv4 broadcasts may be sent */
    bool tell_local;              /* tell to which address, and through which interface, each datagram came */
    bool read_when_full;          /* keep reading while the own queue is past its high-water mark */
    bool ignore_errors;           /* do not ask for ICMP errors of an unconnected socket (IP_RECVERR, Linux) */
    bool multicast_no_loop;       /* what is sent to a group does not come to this host */
    uint32_t multicast_hops;      /* how far it goes, 1-255; default 1: this network */
    uint32_t multicast_interface; /* the index of the interface it leaves by; 0: the system's choice */
    uint32_t max_bytes;           /* the longest datagram that is received whole; default 65535 */
    uint32_t receive_buffer_bytes, send_buffer_bytes; /* SO_RCVBUF, SO_SNDBUF; 0: the system's */
    void *user;                                       /* comes with each event */
    const struct ior_addr *peer;                      /* connects: only this peer is heard, and ior_send goes to it */
    size_t high_bytes;                                /* default 64 KiB */
    size_t low_bytes;                                 /* default high_bytes / 4 */
    size_t cap_bytes;                                 /* default high_bytes + max_bytes; at most 2^60 - 1 */
};

/*
 * Opens a datagram socket, bound to `local`: a wildcard address with port 0 suits clients. NULL, with opts->peer: the
 * system chooses when it connects (a Unix socket stays without a name, and cannot be answered). A stale Unix socket file
 * is replaced if nobody has it; a path made here is removed when the socket is destroyed. Errors: those of socket(2),
 * bind(2), connect(2) and setsockopt(2) for what the options ask; -EAFNOSUPPORT (another family, or two);
 * -ENOSYS (a struct ior_os without datagrams).
 */
IOR_API int ior_datagram_open(struct ior_context *cx, const struct ior_addr *local,
                              const struct ior_datagram_options *opts, ior_id *ret_id);

/*
 * Takes over an open datagram socket (from a supervisor, or with options of the caller's own): bound, connected or
 * neither. Of the options only those of the queue, max_bytes, tell_local, ignore_errors and `user` are used; `peer` must
 * be NULL. On success the fd is the library's (non-blocking from here on); on failure it stays the caller's.
 * Errors: -EBADF, -EEXIST, -EPROTOTYPE (no datagram socket), -EAFNOSUPPORT.
 */
IOR_API int ior_datagram_adopt(struct ior_context *cx, int fd, const struct ior_datagram_options *opts, ior_id *ret_id);

/*
 * Sends one datagram, copied, at the end of the turn; those of a turn leave in as few system calls as the system can.
 * `len` may be 0. Answers 0; 1: taken, and the queue is past its high-water mark; -ENOBUFS: refused, no room (DRAINED is
 * owed after both). Errors: -EMSGSIZE (more than the cap, or than any datagram of this family holds), -EPIPE (closing),
 * -EAFNOSUPPORT, -EISCONN (the socket is connected: ior_send). What the system answers later is IOR_EV_SEND_ERROR, for
 * that one datagram: EMSGSIZE, ENETUNREACH, EACCES (a broadcast), ECONNREFUSED (nobody is there) ... A Unix peer whose
 * queue is full is EAGAIN there, on sockets that are not connected: the system does not tell when there is room.
 *
 * ior_send, ior_sendv and ior_send_buf send one datagram (copied) on a connected socket; -EDESTADDRREQ on others.
 */
IOR_API int ior_send_to(struct ior_context *cx, ior_id id, const struct ior_addr *peer, const void *bytes, size_t len);

/*
 * The same from one of this host's addresses, for sockets bound to the wildcard address: that `local` of the request
 * that is answered (its port is not looked at). Errors: also -EOPNOTSUPP (Unix sockets).
 */
IOR_API int ior_send_from(struct ior_context *cx, ior_id id, const struct ior_addr *local, const struct ior_addr *peer,
                          const void *bytes, size_t len);

/*
 * Joins, or leaves, a multicast group on an interface (an index; 0: the system's choice); the port of `group` is not
 * looked at. Errors: those of setsockopt(2) with MCAST_JOIN_GROUP: -EADDRINUSE (a member already), -EADDRNOTAVAIL (not a
 * member), -ENODEV, -EINVAL (no group), -ENOBUFS (too many); -ENOPROTOOPT (in a simulation).
 */
IOR_API int ior_multicast_join(struct ior_context *cx, ior_id id, const struct ior_addr *group, uint32_t interface);
IOR_API int ior_multicast_leave(struct ior_context *cx, ior_id id, const struct ior_addr *group, uint32_t interface);

#ifdef __cplusplus
}
#endif
#endif
