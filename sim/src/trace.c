/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The trace, and its sum. Both are fed with the same few numbers of each thing that happens; the line is only written
 * where somebody reads it. No pointers, no numbers that differ between systems: errors and options have names.
 */
#include "world.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define LINE_MAX_BYTES 1024

static void feed(struct ior_sim *sim, uint64_t value)
{
    uint64_t h = (sim->hash ^ value) * UINT64_C(0x9e3779b97f4a7c15);
    sim->hash = h ^ (h >> 32);
}

static void feed_text(struct ior_sim *sim, const char *text)
{
    feed(sim, ior_sim_sum(0, text, strlen(text)));
}

/* Errors are fed by name: their numbers are the system's. */
static void feed_result(struct ior_sim *sim, int64_t result)
{
    if (result >= 0)
        feed(sim, (uint64_t)result);
    else if (result == -EAGAIN)
        feed(sim, UINT64_MAX);
    else
        feed_text(sim, ior_errname((int)result));
}

static void show(struct ior_sim *sim, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void show(struct ior_sim *sim, const char *format, ...)
{
    char line[LINE_MAX_BYTES];
    int at = snprintf(line, sizeof(line), "%llu.%09llu ", (unsigned long long)(sim->now_ns / IOR_NS_PER_SEC),
                      (unsigned long long)(sim->now_ns % IOR_NS_PER_SEC));
    va_list args;
    va_start(args, format);
    (void)vsnprintf(line + at, sizeof(line) - (size_t)at, format, args);
    va_end(args);
    sim->config.trace(sim->config.trace_arg, line);
}

static const char *result_text(int64_t result, char *room, size_t len)
{
    if (result < 0)
        return ior_errname((int)result);
    snprintf(room, len, "%lld", (long long)result);
    return room;
}

/* What the numbers of a call are; NULL: it has none. A sum is that of the bytes. */
static const struct {
    const char *a, *b;
} meaning[IOR_SIM_CALLS] = {
    [IOR_SIM_SLEEP] = {"ns", NULL},
    [IOR_SIM_SOCKET] = {"family", NULL},
    [IOR_SIM_BIND] = {"port", "of host"},
    [IOR_SIM_CONNECT] = {"port", "of host"},
    [IOR_SIM_LISTEN] = {"backlog", NULL},
    [IOR_SIM_ACCEPT] = {NULL, "connection"},
    [IOR_SIM_GETSOCKOPT] = {"option", "value"},
    [IOR_SIM_SETSOCKOPT] = {"option", "value"},
    [IOR_SIM_SHUTDOWN] = {"how", NULL},
    [IOR_SIM_RECV] = {"len", "sum"},
    [IOR_SIM_SEND] = {"len", "sum"},
    [IOR_SIM_READ] = {"len", "sum"},
    [IOR_SIM_WRITE] = {"len", "sum"},
    [IOR_SIM_SENDFILE] = {"len", "offset"},
    [IOR_SIM_PREAD] = {"len", "offset"},
    [IOR_SIM_SET_NONBLOCK] = {"on", NULL},
    [IOR_SIM_PATH_STAT] = {"path", NULL},
    [IOR_SIM_PATH_CHMOD] = {"path", "mode"},
    [IOR_SIM_PATH_UNLINK] = {"path", NULL},
    [IOR_SIM_RESOLVE] = {"name", "port"},
    [IOR_SIM_WATCH] = {"id", "interest"},
    [IOR_SIM_REWATCH] = {"id", "interest"},
    [IOR_SIM_UNWATCH] = {"id", NULL},
    [IOR_SIM_WAIT] = {"most", "until"},
};

/* " name value". Ids are a slot and a generation, times have seconds, sums are hexadecimal. */
static void value_text(char *text, size_t len, const char *name, uint64_t value)
{
    unsigned long long v = value;
    if (strcmp(name, "id") == 0)
        snprintf(text, len, " id %llu:%llu", v >> 40, v >> 4 & 0xfffffffff);
    else if (strcmp(name, "until") == 0 && value == IOR_NEVER)
        snprintf(text, len, " for ever");
    else if (strcmp(name, "until") == 0)
        snprintf(text, len, " until %llu.%09llu", v / IOR_NS_PER_SEC, v % IOR_NS_PER_SEC);
    else if (strcmp(name, "sum") == 0)
        snprintf(text, len, " sum %016llx", v);
    else if (strcmp(name, "interest") == 0)
        snprintf(text, len, " %s", ior_io_name((unsigned)value));
    else
        snprintf(text, len, " %s %llu", name, v);
}

static void args_text(const struct call *call, char *text, size_t len)
{
    char fd[24] = "", a[40] = "", b[40] = "";
    if (call->fd >= IOR_SIM_FD_FIRST)
        snprintf(fd, sizeof(fd), " fd %d", call->fd - IOR_SIM_FD_FIRST);
    else if (call->fd != 0)
        snprintf(fd, sizeof(fd), " no fd of here");
    if (meaning[call->kind].a)
        value_text(a, sizeof(a), meaning[call->kind].a, call->a);
    if (meaning[call->kind].b)
        value_text(b, sizeof(b), meaning[call->kind].b, call->b);
    snprintf(text, len, "%s%s%s", fd, a, b);
    if (*text == ' ')
        memmove(text, text + 1, strlen(text));
}

void ior__trace_call(struct call *call, int64_t result)
{
    struct node *node = call->node;
    struct ior_sim *sim = node->sim;
    int fd = call->fd >= IOR_SIM_FD_FIRST ? call->fd - IOR_SIM_FD_FIRST : call->fd;

    feed(sim, sim->now_ns);
    feed(sim, (uint64_t)call->kind | (uint64_t)node->number << 8 | (uint64_t)(uint32_t)fd << 32);
    feed(sim, call->a);
    feed(sim, call->b);
    feed_result(sim, result);
    if (SIM_LIKELY(!sim->config.trace))
        return;
    char args[128], room[32];
    args_text(call, args, sizeof(args));
    show(sim, "%s/%u %s(%s) = %s", sim->hosts[node->host - 1]->name, node->number, ior_sim_call_name(call->kind), args,
         result_text(result, room, sizeof(room)));
}

void ior__trace_net(struct ior_sim *sim, const char *what, const struct end *end, uint64_t n, int err)
{
    feed(sim, sim->now_ns);
    feed_text(sim, what);
    feed(sim, (uint64_t)end->host | (uint64_t)end->conn << 32);
    feed(sim, n);
    feed_result(sim, -(int64_t)err);
    if (SIM_LIKELY(!sim->config.trace))
        return;
    char room[32];
    show(sim, "c%u at %s: %s %llu%s%s", end->conn, sim->hosts[end->host - 1]->name, what, (unsigned long long)n,
         err ? " " : "", err ? result_text(-(int64_t)err, room, sizeof(room)) : "");
}

void ior__trace_text(struct ior_sim *sim, const char *text)
{
    feed(sim, sim->now_ns);
    feed_text(sim, text);
    if (sim->config.trace)
        show(sim, "%s", text);
}

void ior_sim_note(struct ior_sim *sim, const char *format, ...)
{
    char text[LINE_MAX_BYTES - 64];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    ior__trace_text(sim, text);
}

void ior__violate(struct ior_sim *sim, enum ior_sim_violation what, const char *format, ...)
{
    char text[256], line[320];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    sim->violations++;
    snprintf(line, sizeof(line), "violation: %s: %s", ior_sim_violation_name(what), text);
    ior__trace_text(sim, line);
    if (sim->config.violation)
        sim->config.violation(sim->config.violation_arg, what, text);
}

uint64_t ior_sim_hash(const struct ior_sim *sim)
{
    return sim->hash;
}
