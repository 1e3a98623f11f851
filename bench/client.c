/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The client of the measurements, without the library: simple and exact. It works in lock-step: all active connections
 * send their messages, then all answers are read and compared, and so on, so that the number of messages is known and
 * what they cost can be counted. Idle connections can be held beside the active ones. The server's CPU time is read
 * at both ends of the measured rounds, so that start, connects and warm-up are not in it.
 *
 * Answers one line of NAME=VALUE words. Connections are reset at the end, which leaves no port in TIME_WAIT.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define CONNECT_GROUP 100

struct options {
    struct sockaddr_in addr;
    long active, idle, depth, size, rounds, warm;
    double seconds; /* > 0: instead of rounds */
    long pid;       /* of the server, 0: unknown */
    int hold;       /* connect, echo once, and wait for the end of stdin */
};

static int *fds;
static char *message, *answer;

static const char usage[] = "Usage: client -a 127.0.0.1:PORT [options]\n"
                            "  -c N        active connections (1)\n"
                            "  -i N        idle connections beside them (0)\n"
                            "  -d N        messages in flight on each active connection (1)\n"
                            "  -s BYTES    size of a message (64)\n"
                            "  -r ROUNDS   how many times all active connections send and are answered (1000)\n"
                            "  -t SECONDS  instead of -r: as many rounds as fit\n"
                            "  -w ROUNDS   before that, not measured (3)\n"
                            "  -p PID      the server's process: its CPU time is measured\n"
                            "  -H          connect, echo once on each, print a line, wait until stdin ends\n";

static void die(const char *what)
{
    fprintf(stderr, "client: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void misuse(const char *what)
{
    fprintf(stderr, "client: %s\n%s", what, usage);
    exit(2);
}

static double clock_seconds(clockid_t clock)
{
    struct timespec ts;
    if (clock_gettime(clock, &ts) < 0)
        die("clock_gettime");
    return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

static double server_cpu(const struct options *options)
{
    clockid_t clock;
    if (options->pid == 0)
        return 0;
    errno = clock_getcpuclockid((pid_t)options->pid, &clock);
    if (errno != 0)
        die("the server's CPU time");
    return clock_seconds(clock);
}

static int connect_one(const struct options *options)
{
    struct linger reset = {.l_onoff = 1, .l_linger = 0};
    struct timeval limit = {.tv_sec = 60};
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        die("socket");
    if (connect(fd, (const struct sockaddr *)&options->addr, sizeof options->addr) < 0)
        die("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    return fd;
}

static void say(int fd, size_t len)
{
    if (send(fd, message, len, MSG_NOSIGNAL) != (ssize_t)len)
        die("send");
}

static void hear(int fd, size_t len)
{
    ssize_t n = recv(fd, answer, len, MSG_WAITALL);
    if (n != (ssize_t)len) {
        errno = n < 0 ? errno : EPIPE;
        die("recv");
    }
    if (memcmp(answer, message, len) != 0) {
        errno = EBADMSG;
        die("an answer differs");
    }
}

static void one_round(const struct options *options, size_t len, long round)
{
    memcpy(message, &round, sizeof round < len ? sizeof round : len);
    for (long i = 0; i < options->active; i++)
        say(fds[i], len);
    for (long i = 0; i < options->active; i++)
        hear(fds[i], len);
}

/* Connects all, the active ones first, and sees that each is served; in groups that fit into a listener's backlog. */
static void connect_all(const struct options *options)
{
    long total = options->active + options->idle, i, end;
    fds = calloc((size_t)total, sizeof *fds);
    if (!fds)
        die("calloc");
    for (long begin = 0; begin < total; begin = end) {
        end = begin + CONNECT_GROUP < total ? begin + CONNECT_GROUP : total;
        for (i = begin; i < end; i++) {
            fds[i] = connect_one(options);
            say(fds[i], (size_t)options->size);
        }
        for (i = begin; i < end; i++)
            hear(fds[i], (size_t)options->size);
    }
}

static void measure(const struct options *options)
{
    size_t len = (size_t)(options->depth * options->size);
    long round = 0;
    for (; round < options->warm; round++)
        one_round(options, len, round);
    double cpu = server_cpu(options), began = clock_seconds(CLOCK_MONOTONIC), took = 0;
    for (round = 0; options->seconds > 0 ? took < options->seconds : round < options->rounds; round++) {
        one_round(options, len, round);
        if (options->seconds > 0)
            took = clock_seconds(CLOCK_MONOTONIC) - began;
    }
    took = clock_seconds(CLOCK_MONOTONIC) - began;
    cpu = server_cpu(options) - cpu;
    double messages = (double)round * (double)options->active * (double)options->depth;
    printf("connections=%ld idle=%ld messages=%.0f seconds=%.6f rate=%.1f cpu_ns=%.1f\n", options->active,
           options->idle, messages, took, messages / took, cpu * 1e9 / messages);
}

static void hold(const struct options *options)
{
    char byte;
    printf("holding %ld\n", options->active + options->idle);
    fflush(stdout);
    while (read(STDIN_FILENO, &byte, 1) > 0)
        ;
}

static long number(const char *text, long least)
{
    char *end;
    errno = 0;
    long value = strtol(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || value < least)
        misuse(text);
    return value;
}

static struct sockaddr_in address(const char *text)
{
    struct sockaddr_in addr = {.sin_family = AF_INET};
    const char *colon = strrchr(text, ':');
    char host[32];
    if (!colon || (size_t)(colon - text) >= sizeof host)
        misuse(text);
    snprintf(host, sizeof host, "%.*s", (int)(colon - text), text);
    if (inet_pton(AF_INET, host, &addr.sin_addr) != 1)
        misuse(text);
    addr.sin_port = htons((uint16_t)number(colon + 1, 1));
    return addr;
}

static struct options parse(int argc, char **argv)
{
    struct options options = {.active = 1, .depth = 1, .size = 64, .rounds = 1000, .warm = 3};
    for (int c; (c = getopt(argc, argv, "a:c:i:d:s:r:t:w:p:H")) != -1;) {
        switch (c) {
        case 'a':
            options.addr = address(optarg);
            break;
        case 'c':
            options.active = number(optarg, 1);
            break;
        case 'i':
            options.idle = number(optarg, 0);
            break;
        case 'd':
            options.depth = number(optarg, 1);
            break;
        case 's':
            options.size = number(optarg, 1);
            break;
        case 'r':
            options.rounds = number(optarg, 1);
            break;
        case 't':
            options.seconds = atof(optarg);
            break;
        case 'w':
            options.warm = number(optarg, 0);
            break;
        case 'p':
            options.pid = number(optarg, 1);
            break;
        case 'H':
            options.hold = 1;
            break;
        default:
            misuse("see above");
        }
    }
    if (options.addr.sin_port == 0 || optind != argc)
        misuse("an address is wanted, and options only");
    if (options.depth * options.size >
        131072) /* It sends before it reads: all of it must fit into the kernel's buffers. */
        misuse("depth times size is at most 131072");
    return options;
}

int main(int argc, char **argv)
{
    struct options options = parse(argc, argv);
    struct rlimit limit;
    size_t len = (size_t)(options.depth * options.size);
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    message = malloc(len);
    answer = malloc(len);
    if (!message || !answer)
        die("malloc");
    for (size_t i = 0; i < len; i++)
        message[i] = (char)('!' + i % 90);
    connect_all(&options);
    if (options.hold)
        hold(&options);
    else
        measure(&options);
    return 0;
}
