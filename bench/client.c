/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The client of the measurements, without the library: simple and exact. It works in lock-step: all active connections
 * send their messages, then all answers are read and compared, and so on, so that the number of messages is known and
 * what they cost can be counted. Idle connections can be held beside the active ones. The server's CPU time is read
 * at both ends of the measured rounds, so that start, connects and warm-up are not in it. What a round is, each mode
 * says: client/MODE.c.
 *
 * Answers one line of NAME=VALUE words. Connections are reset at the end, which leaves no port in TIME_WAIT.
 */
#include "client/client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static const char usage[] =
    "Usage: client -a 127.0.0.1:PORT [options]\n"
    "  -m MODE     what a round is: echo (the default), ping (requests of RESP), broadcast (the first sends, all\n"
    "              receive), churn (connect, echo, end), bulk (the server's bytes)\n"
    "  -c N        active connections (1)\n"
    "  -i N        idle connections beside them (0); echo and ping\n"
    "  -d N        messages in flight on each active connection (1); echo and ping\n"
    "  -s BYTES    size of a message (64); bulk: of all that comes\n"
    "  -r ROUNDS   how many rounds (1000)\n"
    "  -t SECONDS  instead of -r: as many rounds as fit\n"
    "  -w ROUNDS   before that, not measured (3)\n"
    "  -p PID      the server's process: its CPU time is measured\n"
    "  -K          measure again for each line of stdin, with the same connections, until it ends\n"
    "  -H          connect, echo once on each, print a line, wait until stdin ends\n"
    "  -F          with -H: do not echo (but on one in a hundred, to know that they are accepted)\n";

static const struct mode *const modes[] = {&mode_echo, &mode_ping, &mode_broadcast, &mode_churn, &mode_bulk};

_Noreturn static void misuse(const char *what)
{
    fprintf(stderr, "client: %s\n%s", what, usage);
    exit(2);
}

static double clock_seconds(clockid_t clock)
{
    struct timespec ts;
    if (clock_gettime(clock, &ts) < 0)
        client_die("clock_gettime");
    return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

static double server_cpu(const struct options *options)
{
    clockid_t clock;
    if (options->pid == 0)
        return 0;
    errno = clock_getcpuclockid((pid_t)options->pid, &clock);
    if (errno != 0)
        client_die("the server's CPU time");
    return clock_seconds(clock);
}

static void measure(const struct options *options, const struct mode *mode)
{
    long round = 0;
    for (; round < options->warm; round++)
        mode->round(options, round);
    double cpu = server_cpu(options), began = clock_seconds(CLOCK_MONOTONIC), took = 0;
    for (round = 0; options->seconds > 0 ? took < options->seconds : round < options->rounds; round++) {
        mode->round(options, round);
        if (options->seconds > 0)
            took = clock_seconds(CLOCK_MONOTONIC) - began;
    }
    took = clock_seconds(CLOCK_MONOTONIC) - began;
    cpu = server_cpu(options) - cpu;
    double messages = (double)round * mode->messages(options);
    printf("connections=%ld idle=%ld messages=%.0f seconds=%.6f rate=%.1f cpu_ns=%.1f\n", options->active,
           options->idle, messages, took, messages / took, cpu * 1e9 / messages);
    fflush(stdout);
}

static void measure_on_demand(const struct options *options, const struct mode *mode)
{
    char byte;
    while (read(STDIN_FILENO, &byte, 1) == 1)
        if (byte == '\n')
            measure(options, mode);
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

static const struct mode *mode_named(const char *name)
{
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
        if (strcmp(modes[i]->name, name) == 0)
            return modes[i];
    misuse(name);
}

/* The option letters that take a number: where it goes, and the least that makes sense. */
static long *numeric(struct options *options, int letter, long *least)
{
    *least = letter == 'i' || letter == 'w' ? 0 : 1;
    switch (letter) {
    case 'c':
        return &options->active;
    case 'i':
        return &options->idle;
    case 'd':
        return &options->depth;
    case 's':
        return &options->size;
    case 'r':
        return &options->rounds;
    case 'w':
        return &options->warm;
    case 'p':
        return &options->pid;
    default:
        return NULL;
    }
}

static const struct mode *parse(struct options *options, int argc, char **argv)
{
    const struct mode *mode = &mode_echo;
    for (int c; (c = getopt(argc, argv, "a:c:i:d:s:r:t:w:p:m:HFK")) != -1;) {
        long least, *target = numeric(options, c, &least);
        if (target)
            *target = number(optarg, least);
        else if (c == 'a')
            options->addr = address(optarg);
        else if (c == 'm')
            mode = mode_named(optarg);
        else if (c == 't')
            options->seconds = atof(optarg);
        else if (c == 'H')
            options->hold = true;
        else if (c == 'F')
            options->fresh = true;
        else if (c == 'K')
            options->keep = true;
        else
            misuse("see above");
    }
    if (options->addr.sin_port == 0 || optind != argc)
        misuse("an address is wanted, and options only");
    if (options->fresh && !options->hold)
        misuse("-F is for -H");
    return mode;
}

int main(int argc, char **argv)
{
    struct options options = {.active = 1, .depth = 1, .size = 64, .rounds = 1000, .warm = 3};
    const struct mode *mode = parse(&options, argc, argv);
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    mode->begin(&options);
    if (options.hold)
        hold(&options);
    else if (options.keep)
        measure_on_demand(&options, mode);
    else
        measure(&options, mode);
    return 0;
}
