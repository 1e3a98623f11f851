/* SPDX-License-Identifier: Apache-2.0 */
/*
 * proxy: TCP to TCP (or Unix sockets, on either side). The service is in proxy/service.c; this is the program around it.
 *
 * Try it:  build/release/examples/echo     and, in other terminals,
 *          build/release/examples/proxy --to localhost:7000     and     nc 127.0.0.1 7002
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include "program.h"
#include "proxy/service.h"

#define PAIRS_DEFAULT 8000
#define FILES_BESIDES 32 /* the loop, the listener, the program, the resolver */
#define NAME_MAX_BYTES 254

static uint64_t pairs = PAIRS_DEFAULT, connect_secs = 10, idle_secs, buffer_kib = 64, memory_mib = 256;
static const char *to = "127.0.0.1:7000";

static const struct program_option options[] = {
    {"--to", "HOST:PORT|unix:PATH", "where to (default 127.0.0.1:7000)", PROGRAM_TEXT, &to, 0, 0},
    {"--pairs", "N", "connections at once; more wait", PROGRAM_NUMBER, &pairs, 1, 1000000},
    {"--connect", "SECONDS", "for looking the host up and connecting", PROGRAM_NUMBER, &connect_secs, 1, 86400},
    {"--idle", "SECONDS", "end a pair when nothing moves; 0: never", PROGRAM_NUMBER, &idle_secs, 0, 86400},
    {"--buffer", "KIB", "what waits for a slow side", PROGRAM_NUMBER, &buffer_kib, 4, 65536},
    {"--memory", "MIB", "what waits for all slow sides", PROGRAM_NUMBER, &memory_mib, 1, 65536},
    {0},
};

/* Cuts "host:port" in two. */
static void read_to(const struct program *program, struct proxy *proxy)
{
    static char host[NAME_MAX_BYTES + 3]; /* with brackets */
    struct ior_addr addr;
    int err = ior_addr_parse(&addr, to);
    if (strncmp(to, "unix:", 5) == 0) {
        if (err < 0)
            program_bad_option(program, "--to", to, err == -ENAMETOOLONG ? "this path is too long" : "not a path");
        proxy->host = to;
        return;
    }
    const char *colon = strrchr(to, ':');
    const char *wanted = "expected HOST:PORT, as example.org:80, 127.0.0.1:80 or [::1]:80, or unix:/run/x.sock";
    size_t len = colon ? (size_t)(colon - to) : 0;
    if (len == 0 || strpbrk(to, " \t\r\n") || (err < 0 && (to[0] == '[' || memchr(to, ':', len))))
        program_bad_option(program, "--to", to, wanted);
    if (len >= sizeof(host) || (err < 0 && len > NAME_MAX_BYTES - (to[len - 1] != '.')))
        program_bad_option(program, "--to", to, "this name is too long for a host");
    char *end;
    unsigned long port = strtoul(colon + 1, &end, 10);
    if (colon[1] < '0' || colon[1] > '9' || *end || port < 1 || port > 65535)
        program_bad_option(program, "--to", to, "the port is no number from 1 to 65535");
    memcpy(host, to, len);
    host[len] = '\0';
    proxy->host = host;
    proxy->port = (unsigned)port;
}

/* Each pair is two files. */
static void check_files(const struct program *program)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY ||
        2 * pairs + FILES_BESIDES <= limit.rlim_cur)
        return;
    char value[32], why[160];
    snprintf(value, sizeof(value), "%" PRIu64, pairs);
    snprintf(why, sizeof(why), "so many pairs are %" PRIu64 " open files, and the limit is %" PRIu64 " (ulimit -n)",
             2 * pairs + FILES_BESIDES, (uint64_t)limit.rlim_cur);
    program_bad_option(program, "--pairs", value, why);
}

static void on_failure(void *arg, const char *why)
{
    fprintf(stderr, "proxy: cannot connect to %s: %s\n", (const char *)arg, why);
}

int main(int argc, char **argv)
{
    struct program program = {
        .name = "proxy", .summary = "Passes TCP connections on.", .listen = "127.0.0.1:7002", .options = options};
    program_init(&program, argc, argv);
    struct proxy proxy = {
        .max_pairs = pairs,
        .connect_ns = connect_secs * IOR_NS_PER_SEC,
        .idle_ns = idle_secs * IOR_NS_PER_SEC,
        .buffer_bytes = (size_t)buffer_kib * 1024,
        .failed = on_failure,
        .failed_arg = (void *)(uintptr_t)to,
    };
    read_to(&program, &proxy);
    check_files(&program);

    struct ior_config config = {
        .struct_size = sizeof(config),
        .engine = program.engine,
        .output_cap_bytes = (size_t)memory_mib << 20,
    };
    struct ior_runtime *rt;
    int err = ior_runtime_new(&config, &proxy_handler, &proxy, &rt);
    if (err < 0)
        return program_fail(&program, "cannot make a runtime", err);

    struct ior_listen_options opts;
    proxy_listen_options(&proxy, &opts);
    int status = PROGRAM_EXIT_FAILURE;
    if (program_listen(&program, ior_runtime_context(rt), &opts, &proxy.listener) == 0)
        status = program_run(&program, rt);
    ior_runtime_free(rt);
    return status;
}
