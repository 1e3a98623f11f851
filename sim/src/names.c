/* SPDX-License-Identifier: Apache-2.0 */
/* Names for people, and the sum of bytes. */
#include <ioreactor/sim.h>

const char *ior_sim_call_name(enum ior_sim_call call)
{
    static const char *const names[IOR_SIM_CALLS] = {
        "any",          "clock",     "wall",        "random",      "sleep",      "socket",      "bind",     "listen",
        "accept",       "connect",   "getsockname", "getpeername", "getsockopt", "setsockopt",  "shutdown", "close",
        "recv",         "send",      "read",        "write",       "sendfile",   "pread",       "dup",      "fd_kind",
        "set_nonblock", "path_stat", "path_chmod",  "path_unlink", "resolve",    "engine_open", "watch",    "rewatch",
        "unwatch",      "wait",      "wake",        "rebuild",
    };
    return (unsigned)call < IOR_SIM_CALLS ? names[call] : "?";
}

const char *ior_sim_violation_name(enum ior_sim_violation violation)
{
    static const char *const names[IOR_SIM_VIOLATIONS] = {
        "?",
        "bad fd",
        "use after close",
        "double close",
        "close of a watched fd",
        "send after shutdown",
        "blocking",
        "bad argument",
        "leak",
        "engine left",
        "spin",
        "hang",
    };
    return (unsigned)violation < IOR_SIM_VIOLATIONS ? names[violation] : "?";
}

/* FNV-1a, with a start that makes the sum of nothing 0. */
uint64_t ior_sim_sum(uint64_t sum, const void *bytes, size_t len)
{
    const uint64_t basis = UINT64_C(0xcbf29ce484222325);
    const unsigned char *at = bytes;

    sum ^= basis;
    for (size_t i = 0; i < len; i++)
        sum = (sum ^ at[i]) * UINT64_C(0x100000001b3);
    return sum ^ basis;
}
