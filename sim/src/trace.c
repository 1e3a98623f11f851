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
    vsnprintf(line + at, sizeof(line) - (size_t)at, format, args);
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

void trace_call(struct call *call, int64_t result)
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
    char room[32];
    show(sim, "%s/%u %s(fd %d, %llu, %llx) = %s", sim->hosts[node->host - 1]->name, node->number,
         ior_sim_call_name(call->kind), fd, (unsigned long long)call->a, (unsigned long long)call->b,
         result_text(result, room, sizeof(room)));
}

void trace_net(struct ior_sim *sim, const char *what, const struct end *end, uint64_t n, int err)
{
    feed(sim, sim->now_ns);
    feed(sim, (uint64_t)(unsigned char)what[0] | (uint64_t)end->conn << 8);
    feed(sim, (uint64_t)end->host | n << 16);
    feed_result(sim, -(int64_t)err);
    if (SIM_LIKELY(!sim->config.trace))
        return;
    char room[32];
    show(sim, "net c%u %s %s %llu %s", end->conn, sim->hosts[end->host - 1]->name, what, (unsigned long long)n,
         result_text(-(int64_t)err, room, sizeof(room)));
}

void trace_text(struct ior_sim *sim, const char *text)
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
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    trace_text(sim, text);
}

void violate(struct ior_sim *sim, enum ior_sim_violation what, const char *format, ...)
{
    char text[256], line[320];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    sim->violations++;
    snprintf(line, sizeof(line), "violation: %s: %s", ior_sim_violation_name(what), text);
    trace_text(sim, line);
    if (sim->config.violation)
        sim->config.violation(sim->config.violation_arg, what, text);
}

uint64_t ior_sim_hash(const struct ior_sim *sim)
{
    return sim->hash;
}
