/* SPDX-License-Identifier: Apache-2.0 */
/* Datagram sockets, as the files of src/resource/datagram*.c and the core see them. */
#ifndef IOR_SRC_DATAGRAM_H
#define IOR_SRC_DATAGRAM_H

#include <string.h>

#include "core.h"

/*
 * A datagram that is kept: to be sent, in the pieces of the resource's queue, or received and not told. Behind it lie
 * its peer's address, its local address (sockaddrs) and its bytes; the whole is a multiple of 8.
 */
struct ior__packet {
    uint32_t len;
    uint16_t peer_len, local_len;
    uint32_t interface;
    uint32_t truncated;
};

static inline size_t ior__packet_size(size_t peer_len, size_t local_len, size_t len)
{
    return (sizeof(struct ior__packet) + peer_len + local_len + len + 7) & ~(size_t)7;
}

/* Received, and not told: the service paused, or its output was full, in the midst of them. */
struct ior__held_packets {
    size_t at, end, size; /* what is left: at .. end, of so many bytes behind the struct */
    uint32_t count;
    unsigned char bytes[];
};

struct ior__datagram {
    struct ior_resource base;
    const struct ior_os *os; /* what closes the fd when no runtime is left */
    struct ior__marks marks;
    struct ior__held_packets *held;
    uint64_t discarded; /* bytes of datagrams that came when nobody wanted them any more */
    uint64_t queued;    /* datagrams in the queue */
    uint32_t max_bytes;
    int family;
    uint8_t asks;  /* how many the next receive asks for */
    uint8_t apart; /* how many sends more do not try to join datagrams, since a device or a path could not cut them */
    bool connected;
    bool tells_local;
    bool retried;     /* the first datagram of the queue failed, and is tried again */
    bool was_blocked; /* it waited for the socket to take it */
    int first_error;  /* what it failed with; 0: that was told */
    char *path;       /* of a Unix socket, to be removed; NULL: none */
    uint32_t path_len;
    uint64_t dev, ino;
    struct ior_addr bound, peer;
};

/* Where a runtime's datagram sockets receive; made with the first of them, as large as the largest asks for. */
struct ior__datagrams {
    unsigned char *bytes;
    size_t size;
    unsigned char *lent; /* in a delivery: the buffers it began with, which may have been outgrown since; else NULL */
    size_t lent_size;
    struct ior_os_datagram at[IOR_OS_DATAGRAMS];
    struct ior_addr peers[IOR_OS_DATAGRAMS], locals[IOR_OS_DATAGRAMS];
};

extern const struct ior_resource_ops ior__datagram_ops;

static inline bool ior__is_datagram(const struct ior_resource *res)
{
    return res->ops == &ior__datagram_ops;
}

static inline struct ior__datagram *ior__datagram_of(const struct ior_resource *res)
{
    return (struct ior__datagram *)(uintptr_t)res;
}

/* datagram.c */
void ior__datagram_tell_error(struct ior__datagram *dg, int error, struct ior_datagram *about);
/* Tells what is in the socket's queue of errors; how many that were. */
int ior__datagram_take_errors(struct ior__datagram *dg);
size_t ior__datagram_unread(const struct ior_resource *res, struct iovec *iov, int n, int *ret_n);

/* datagram_new.c */
int ior__datagram_attach(struct ior_context *cx, struct ior_resource *res, ior_id *ret_id);
/* The Unix path is not removed when it is destroyed. */
void ior__datagram_forget_path(struct ior_resource *res);
void ior__datagrams_free(struct ior_runtime *rt);
/* Around a delivery: what is in the buffers stays there, although a callback may open a socket that needs larger ones. */
void ior__datagrams_lend(struct ior__datagrams *in);
void ior__datagrams_lent(struct ior__datagrams *in);

/* datagram_send.c */
int ior__datagram_send(struct ior_resource *res, const struct iovec *iov, int n);
void ior__datagram_write_out(struct ior_resource *res);
size_t ior__datagram_unsent(const struct ior_resource *res, struct iovec *iov, int n, int *ret_n);

/* The packet at a place, and where its parts are. */
static inline struct ior__packet ior__packet_at(const unsigned char *at)
{
    struct ior__packet packet;
    memcpy(&packet, at, sizeof(packet));
    return packet;
}

static inline unsigned char *ior__packet_bytes(const unsigned char *at, const struct ior__packet *packet)
{
    return (unsigned char *)(uintptr_t)at + sizeof(*packet) + packet->peer_len + packet->local_len;
}

#endif
