/* SPDX-License-Identifier: Apache-2.0 */
/* Sockets of the measuring client: simple and blocking, each with a limit of a minute. */
#include "client.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

int *client_fds;
static char *heard;
static size_t heard_len;

void client_die(const char *what)
{
    fprintf(stderr, "client: %s: %s\n", what, strerror(errno));
    exit(1);
}

void *client_alloc(size_t len)
{
    void *bytes = calloc(1, len);
    if (!bytes)
        client_die("calloc");
    return bytes;
}

int client_connect(const struct options *options)
{
    struct linger reset = {.l_onoff = 1, .l_linger = 0};
    struct timeval limit = {.tv_sec = 60};
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        client_die("socket");
    if (connect(fd, (const struct sockaddr *)&options->addr, sizeof options->addr) < 0)
        client_die("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    return fd;
}

void client_say(int fd, const void *bytes, size_t len)
{
    if (send(fd, bytes, len, MSG_NOSIGNAL) != (ssize_t)len)
        client_die("send");
}

void client_hear(int fd, const void *wanted, size_t len)
{
    if (len > heard_len) {
        free(heard);
        heard = client_alloc(len);
        heard_len = len;
    }
    ssize_t n = recv(fd, heard, len, MSG_WAITALL);
    if (n != (ssize_t)len) {
        errno = n < 0 ? errno : EPIPE;
        client_die("recv");
    }
    if (memcmp(heard, wanted, len) != 0) {
        errno = EBADMSG;
        client_die("an answer differs");
    }
}

void client_fill(char *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        bytes[i] = (char)('!' + i % 90);
}
