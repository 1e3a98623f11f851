/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the small servers of the benchmarks share whatever loop they run on: giving up, signals, the listening socket
 * and the line that tells its address. Not for what is measured: each server has its own hot path in its own file.
 */
#ifndef IOR_BENCH_SERVER_H
#define IOR_BENCH_SERVER_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define SERVER_BACKLOG 511        /* as ior_listen's default */
#define SERVER_BUFFER_BYTES 65536 /* of one read, in every server */
#define SERVER_IDLE_SECONDS 600   /* with --idle: what each message moves; never passes in a measurement */

_Noreturn static inline void server_fail(const char *what, int err)
{
    fprintf(stderr, "%s: %s\n", what, strerror(err));
    exit(1);
}

/* `result`, where it is none below 0; else ends the program with errno. */
static inline int server_must(int result, const char *what)
{
    if (result < 0)
        server_fail(what, errno);
    return result;
}

static inline void server_on_signal(int number)
{
    (void)number;
    _exit(0); /* A benchmark's server may: it holds nothing that outlives it. */
}

/* Raises the limit of open files; SIGTERM and SIGINT end the process, a peer that is gone does not. */
static inline void server_begin(void)
{
    struct rlimit fds;
    if (getrlimit(RLIMIT_NOFILE, &fds) == 0) {
        fds.rlim_cur = fds.rlim_max;
        setrlimit(RLIMIT_NOFILE, &fds);
    }
    signal(SIGTERM, server_on_signal);
    signal(SIGINT, server_on_signal);
    signal(SIGPIPE, SIG_IGN);
}

/* A non-blocking socket that listens on a free port of 127.0.0.1. */
static inline int server_listen(void)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = server_must(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), "socket");
    server_must(bind(fd, (struct sockaddr *)&addr, sizeof addr), "bind");
    server_must(listen(fd, SERVER_BACKLOG), "listen");
    return fd;
}

/* Tells the address of a listening socket as the measuring scripts want it. */
static inline void server_announce(int fd)
{
    struct sockaddr_in addr;
    socklen_t len = sizeof addr;
    server_must(getsockname(fd, (struct sockaddr *)&addr, &len), "getsockname");
    printf("listening on 127.0.0.1:%u\n", ntohs(addr.sin_port));
    fflush(stdout);
}

/* The next connection, non-blocking and without Nagle's delay; -1: there is none now. */
static inline int server_accept(int listener)
{
    int one = 1, fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

/* A failed recv or send that means nothing but "not now". */
static inline bool server_not_now(void)
{
    return errno == EAGAIN || errno == EINTR;
}

/* The one flag a server knows, where it is given; anything else is wrong usage. */
static inline bool server_flag(int argc, char **argv, const char *flag)
{
    if (argc == 1)
        return false;
    if (argc == 2 && strcmp(argv[1], flag) == 0)
        return true;
    fprintf(stderr, "usage: %s [%s]\n", argv[0], flag);
    exit(2);
}

#endif
