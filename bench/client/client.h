/* SPDX-License-Identifier: Apache-2.0 */
/* Parts of the measuring client. Failures end it with a message; every call blocks, with a limit of a minute. */
#ifndef IOR_BENCH_CLIENT_H
#define IOR_BENCH_CLIENT_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct options {
    struct sockaddr_in addr;
    long active, idle, depth, size, rounds, warm;
    double seconds; /* > 0: instead of rounds */
    long pid;       /* of the server, 0: unknown */
    bool hold;      /* connect, and wait for the end of stdin */
    bool fresh;     /* hold: connections that were never used */
    bool keep;      /* measure once for each line of stdin */
};

/* What a mode measures. */
struct mode {
    const char *name;
    /* Connects, and whatever comes before the first round. */
    void (*begin)(const struct options *options);
    void (*round)(const struct options *options, long number);
    /* What one round counts as. */
    double (*messages)(const struct options *options);
};

extern const struct mode mode_echo, mode_ping, mode_broadcast, mode_churn, mode_bulk;

_Noreturn void client_die(const char *what);

/* Connected, with time limits; it is reset when it is closed, which leaves no port in TIME_WAIT. */
int client_connect(const struct options *options);

void client_say(int fd, const void *bytes, size_t len);

/* Reads so many bytes, which must be these; into a buffer of its own. */
void client_hear(int fd, const void *wanted, size_t len);

/* Fills a message; no two near bytes are alike. */
void client_fill(char *bytes, size_t len);

void *client_alloc(size_t len);

/* Connections that the modes hold. */
extern int *client_fds;

/* lockstep.c: connects all, the active ones first, in groups that fit into a listener's backlog. */
void client_connect_all(const struct options *options);

#endif
