/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Time: monotonic nanoseconds (CLOCK_MONOTONIC) for timers and deadlines, UNIX nanoseconds (CLOCK_REALTIME) for
 * services that need the time of day. Both fit 64 bits for five centuries. The arithmetic here saturates: it never
 * wraps.
 */
#ifndef IOREACTOR_TIME_H
#define IOREACTOR_TIME_H

#include <ioreactor/base.h>

#ifdef __cplusplus
extern "C" {
#endif

struct ior_context;

#define IOR_NS_PER_US UINT64_C(1000)
#define IOR_NS_PER_MS UINT64_C(1000000)
#define IOR_NS_PER_SEC UINT64_C(1000000000)
#define IOR_NEVER UINT64_MAX /* as a deadline or a duration: none, for ever */

/* a + b, or IOR_NEVER where that is too large. */
static inline uint64_t ior_time_add(uint64_t a_ns, uint64_t b_ns)
{
    return a_ns > IOR_NEVER - b_ns ? IOR_NEVER : a_ns + b_ns;
}

/* a - b, or 0 where b is the later one. */
static inline uint64_t ior_time_sub(uint64_t a_ns, uint64_t b_ns)
{
    return a_ns > b_ns ? a_ns - b_ns : 0;
}

static inline uint64_t ior_time_from_ms(uint64_t ms)
{
    return ms > IOR_NEVER / IOR_NS_PER_MS ? IOR_NEVER : ms * IOR_NS_PER_MS;
}

static inline uint64_t ior_time_from_secs(uint64_t secs)
{
    return secs > IOR_NEVER / IOR_NS_PER_SEC ? IOR_NEVER : secs * IOR_NS_PER_SEC;
}

/* Whole milliseconds and seconds, rounded down. */
static inline uint64_t ior_time_to_ms(uint64_t ns)
{
    return ns / IOR_NS_PER_MS;
}

static inline uint64_t ior_time_to_secs(uint64_t ns)
{
    return ns / IOR_NS_PER_SEC;
}

/* The monotonic clock, read now. */
IOR_API uint64_t ior_now(struct ior_context *cx);

/*
 * The monotonic clock as this turn read it after its wait: costs nothing, and is behind by as long as the turn has
 * lasted. For many time stamps or absolute timers at once.
 */
IOR_API uint64_t ior_turn_ns(struct ior_context *cx);

/* The wall clock, read now: nanoseconds since 1970-01-01 UTC. It may jump; nothing in the library depends on it. */
IOR_API uint64_t ior_unix_ns(struct ior_context *cx);

/* 64 random bits for tokens, jitter and hash seeds (getrandom(2) underneath; reproducible in a simulation). */
IOR_API uint64_t ior_random(struct ior_context *cx);

/*
 * A relative timer, counted from the moment of this call. It fires once, through handler.timer, never early, in order
 * of deadline and then of arming; 0 fires in the next turn, IOR_NEVER never. `user` comes along. The id is given out
 * before the timer can fire.
 * Errors: -EINVAL (no ret_id), -ENOSPC (config.max_timers are armed), -ENOMEM, -EPERM (other thread), -ESHUTDOWN (the
 * runtime or service has ended).
 */
IOR_API int ior_timer_set(struct ior_context *cx, uint64_t after_ns, void *user, ior_timer_id *ret_id);

/*
 * The same at a time of ior_now's clock: never before it; one that is past fires in the next turn. It reads no clock,
 * which is most of what arming a timer costs. Errors: as ior_timer_set.
 */
IOR_API int ior_timer_at(struct ior_context *cx, uint64_t at_ns, void *user, ior_timer_id *ret_id);

/*
 * A periodic timer, first after first_ns, then every period_ns from there on, without drift: each time is the first one
 * and a multiple of the period, however late the callbacks were. Where the loop comes so late that further times have
 * passed it calls back once, and ior_timer_missed tells how many more there were. The id stays the same until it is
 * cancelled. Its callback may move or cancel it; by then it is queued for the next time, in order of deadline and then
 * of arming, which is when it fired last.
 * Errors: as ior_timer_set; -EINVAL also where period_ns is 0 or IOR_NEVER.
 */
IOR_API int ior_timer_every(struct ior_context *cx, uint64_t first_ns, uint64_t period_ns, void *user,
                            ior_timer_id *ret_id);

/*
 * Inside the callback of a periodic timer: how many times besides this one had passed when the turn began; 0: none, the
 * loop kept up. 0 also everywhere else.
 */
IOR_API uint64_t ior_timer_missed(struct ior_context *cx);

/*
 * Arms a timer that has not fired anew, counted from now; it keeps its id. A periodic one goes on from there with its
 * period. Moving a timer later is the cheapest of all: nothing but its own time changes. Errors: -ENOENT (fired,
 * cancelled), -EACCES (another service's), -EPERM.
 */
IOR_API int ior_timer_move(struct ior_context *cx, ior_timer_id id, uint64_t after_ns);

/* The same at a time of ior_now's clock, as ior_timer_at. */
IOR_API int ior_timer_move_at(struct ior_context *cx, ior_timer_id id, uint64_t at_ns);

/*
 * Cancels a timer: it will not fire, also where it is due already; a periodic one, no more. Errors: -ENOENT (fired,
 * cancelled), -EACCES (another service's), -EPERM.
 */
IOR_API int ior_timer_cancel(struct ior_context *cx, ior_timer_id id);

/* The number of armed timers of this service. */
IOR_API size_t ior_timer_count(struct ior_context *cx);

/*
 * When the earliest timer or deadline of the runtime is due, as monotonic time, or a little earlier (a deadline that
 * was moved later is found out when its first time comes); IOR_NEVER without any.
 */
IOR_API uint64_t ior_timer_next(struct ior_context *cx);

#ifdef __cplusplus
}
#endif
#endif
