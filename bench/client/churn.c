/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mode churn: connect, one message and its echo, and an orderly end: half-close, wait for the server's. So many at a
 * time as there are active connections. The ports of ended connections stay in TIME_WAIT; so the client takes another
 * address of 127.0.0.0/8 after every 10,000. A connection counts as a message.
 */
#include "client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define CONNECTIONS_OF_ADDRESS 10000

static char *message;
static unsigned long connections;

static int connect_from(const struct options *options)
{
    struct sockaddr_in from = {.sin_family = AF_INET};
    struct timeval limit = {.tv_sec = 60};
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        client_die("socket");
    from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 +
                                 (uint32_t)(connections++ / CONNECTIONS_OF_ADDRESS + (unsigned long)getpid()) % 60000);
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    if (bind(fd, (struct sockaddr *)&from, sizeof from) < 0)
        client_die("bind");
    if (connect(fd, (const struct sockaddr *)&options->addr, sizeof options->addr) < 0)
        client_die("connect");
    return fd;
}

static void begin(const struct options *options)
{
    message = client_alloc((size_t)options->size);
    client_fill(message, (size_t)options->size);
    client_fds = client_alloc((size_t)options->active * sizeof *client_fds);
}

static void round_of(const struct options *options, long number)
{
    size_t len = (size_t)options->size;
    char byte;
    memcpy(message, &number, sizeof number < len ? sizeof number : len);
    for (long i = 0; i < options->active; i++)
        client_fds[i] = connect_from(options);
    for (long i = 0; i < options->active; i++)
        client_say(client_fds[i], message, len);
    for (long i = 0; i < options->active; i++) {
        client_hear(client_fds[i], message, len);
        shutdown(client_fds[i], SHUT_WR);
    }
    for (long i = 0; i < options->active; i++) {
        ssize_t n = recv(client_fds[i], &byte, 1, 0);
        if (n != 0) {
            errno = n < 0 ? errno : EBADMSG;
            client_die("the end");
        }
        close(client_fds[i]);
    }
}

static double messages(const struct options *options)
{
    return (double)options->active;
}

const struct mode mode_churn = {.name = "churn", .begin = begin, .round = round_of, .messages = messages};
