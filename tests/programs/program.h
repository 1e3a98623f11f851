/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the programs here share, none of it about the library: a check that ends the program, and a plain blocking
 * client, which plays the other side of the wire. Every program ends by itself, also when something hangs.
 */
#ifndef IOR_TESTS_PROGRAM_H
#define IOR_TESTS_PROGRAM_H

#include <errno.h>
#include <ioreactor.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

/* What must hold for the program to go on; stays in release builds, unlike assert. */
#define CHECK(condition)                                                                          \
    do {                                                                                          \
        if (!(condition)) {                                                                       \
            fprintf(stderr, "%s:%d: %s: not so: %s\n", __FILE__, __LINE__, __func__, #condition); \
            exit(1);                                                                              \
        }                                                                                         \
    } while (0)

/* Ends the program with SIGALRM where it would hang. */
static inline void program_begin(void)
{
    alarm(120);
}

/* The configuration of every program: the engine comes from IOR_ENGINE, the rest is the default. */
static inline struct ior_config program_config(void)
{
    return (struct ior_config){.struct_size = sizeof(struct ior_config), .engine = ior_engine_from_env()};
}

static inline struct ior_addr loopback(void)
{
    struct ior_addr addr;
    CHECK(ior_addr_parse(&addr, "127.0.0.1:0") == 0);
    return addr;
}

/* A blocking client socket, connected; it gives up reading and writing after a minute. */
static inline int client_connect(const struct ior_addr *addr)
{
    struct timeval limit = {.tv_sec = 60};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(fd >= 0);
    CHECK(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0);
    CHECK(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) == 0);
    CHECK(connect(fd, (const struct sockaddr *)addr->raw, addr->len) == 0);
    return fd;
}

static inline void client_send(int fd, const void *bytes, size_t len)
{
    for (size_t sent = 0; sent < len;) {
        ssize_t n = send(fd, (const char *)bytes + sent, len - sent, MSG_NOSIGNAL);
        CHECK(n > 0 || (n < 0 && errno == EINTR));
        sent += n > 0 ? (size_t)n : 0;
    }
}

/* Reads exactly len bytes. */
static inline void client_read(int fd, void *bytes, size_t len)
{
    for (size_t got = 0; got < len;) {
        ssize_t n = recv(fd, (char *)bytes + got, len - got, 0);
        CHECK(n > 0 || (n < 0 && errno == EINTR));
        got += n > 0 ? (size_t)n : 0;
    }
}

/* Reads exactly this text. */
static inline void client_expect(int fd, const char *text)
{
    char got[256];
    size_t len = strlen(text);
    CHECK(len <= sizeof got);
    client_read(fd, got, len);
    if (memcmp(got, text, len) != 0)
        fprintf(stderr, "expected \"%s\", got \"%.*s\"\n", text, (int)len, got);
    CHECK(memcmp(got, text, len) == 0);
}

/* The peer has finished, and sent nothing more. */
static inline void client_expect_eof(int fd)
{
    char byte;
    CHECK(recv(fd, &byte, 1, 0) == 0);
}

#endif
