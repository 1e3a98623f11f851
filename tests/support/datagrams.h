/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For tests of datagram sockets on a real engine: what was told of them, in order, and peers that are plain sockets.
 */
#ifndef TESTS_SUPPORT_DATAGRAMS_H
#define TESTS_SUPPORT_DATAGRAMS_H

#include "probe.h"

#define DG_OPTIONS(...) \
    (&(const struct ior_datagram_options){.struct_size = sizeof(struct ior_datagram_options), __VA_ARGS__})

enum { DG_MOST = 1024, DG_TEXT = 64 };

/* A datagram, or an error, as it was told. */
struct dg_told {
    ior_id id;
    size_t len;
    char text[DG_TEXT]; /* the first bytes, with a zero */
    struct ior_addr peer, local;
    uint32_t interface;
    bool truncated, was_sent;
    int error;
};

/* What was told of all sockets of a test. */
struct dg_notes {
    struct dg_told told[DG_MOST], errors[DG_MOST];
    size_t told_n, errors_n;
    /* Of the test: called after each datagram. */
    void (*on_datagram)(struct probe *p, struct probe_res *r, const struct ior_datagram *datagram);
};
extern struct dg_notes dg;

/* A probe that keeps the notes, which are empty; config NULL: probe_config(). */
struct probe *dg_begin(const struct ior_config *config);
/* Its hook, for a test that sets another one. */
void dg_on_event(struct probe *p, struct probe_res *r, const struct ior_event *ev);

struct ior_addr dg_addr(const char *text);
ior_id dg_open(struct probe *p, const char *local, const struct ior_datagram_options *opts, struct ior_addr *ret_addr);

/* A plain socket, bound; its address. */
int dg_peer(const char *local, struct ior_addr *ret_addr);
void dg_say(int fd, const struct ior_addr *to, const void *bytes, size_t len);
void dg_say_text(int fd, const struct ior_addr *to, const char *text);
/* "number 0", "number 1" ... */
void dg_say_numbers(int fd, const struct ior_addr *to, int n);
/* The next datagram of a plain socket, for which it waits. */
const char *dg_hear(int fd, struct ior_addr *from);
/* Whether nothing is there. */
bool dg_is_quiet(int fd);

/* A UDP port that nobody has. */
struct ior_addr dg_refused(void);
bool dg_has_v6(void);

#endif
