/* SPDX-License-Identifier: Apache-2.0 */
/*
 * R71: where the kernel, or a filter of system calls, has no io_uring for us, whoever asked for it by name is told why,
 * and whoever did not runs on the next engine. Each case in a child with a seccomp filter of its own.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "support/check.h"

#include <stdio.h>

#if defined(IOR_URING) && defined(__linux__)
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <ioreactor.h>

#include "support/net.h"

struct refusal {
    int error;
    long calls[2]; /* 0: none */
    const char *engine;
    int expected;         /* what ior_runtime_new answers */
    const char *runs;     /* and what runs, where that is 0 */
    const char *log_line; /* a part of a line of the log */
};

enum { CANNOT_FILTER = 77, WRONG_ANSWER = 2, WRONG_ENGINE, NO_LOG_LINE, LEAKED };

static const struct ior_handler handler = {.struct_size = sizeof(handler)};
static const char *wanted_line;
static bool logged;

static void look_for_line(void *arg, int level, const char *line)
{
    (void)arg;
    (void)level;
    logged = logged || strstr(line, wanted_line);
}

/* Makes the calls fail with `error`. */
static bool refuse(const long calls[2], int error)
{
    struct sock_filter filter[6];
    unsigned short n = 0;
    filter[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (int i = 0; i < 2 && calls[i]; i++) {
        filter[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)calls[i], 0, 1);
        filter[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)error);
    }
    filter[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct sock_fprog program = {.len = n, .filter = filter};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

static int run_refused(void *arg)
{
    const struct refusal *refusal = arg;
    struct ior_config config = {.struct_size = sizeof(config), .engine = refusal->engine};
    struct ior_runtime *rt = NULL;
    size_t fds = net_fd_count();

    if (!refuse(refusal->calls, refusal->error))
        return CANNOT_FILTER;
    wanted_line = refusal->log_line;
    ior_set_log(look_for_line, NULL, IOR_LOG_INFO);
    if (ior_runtime_new(&config, &handler, NULL, &rt) != refusal->expected)
        return WRONG_ANSWER;
    if (rt && (strcmp(ior_runtime_engine(rt), refusal->runs) != 0 || ior_runtime_turn(rt, 0) != 1))
        return WRONG_ENGINE;
    ior_runtime_free(rt);
    if (!logged)
        return NO_LOG_LINE;
    return net_fd_count() == fds ? 0 : LEAKED;
}

static void expect(const struct refusal *refusals, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int status = net_in_child(run_refused, (void *)(uintptr_t)&refusals[i]);
        if (status == CANNOT_FILTER) {
            print_message("no seccomp filters here\n");
            skip();
        }
        if (status != 0)
            fail_msg("refusal %zu: %d", i, status);
    }
}

static void r71_asked_for_by_name_it_says_why(void **state)
{
    static const struct refusal refusals[] = {
        {ENOSYS, {SYS_io_uring_setup}, "uring", -ENOSYS, NULL, "engine uring: "},
        {EPERM, {SYS_io_uring_setup}, "uring", -EPERM, NULL, "engine uring: "},
        {ENOMEM, {SYS_io_uring_setup}, "uring", -ENOMEM, NULL, "engine uring: "},
        {EINVAL, {SYS_io_uring_setup}, "uring", -EOPNOTSUPP, NULL, "engine uring needs Linux "},
        {EINVAL, {SYS_io_uring_register}, "uring", -EOPNOTSUPP, NULL, "engine uring needs Linux "},
        {EPERM, {SYS_io_uring_register}, "uring", -EPERM, NULL, "engine uring: "},
    };
    (void)state;
    expect(refusals, sizeof(refusals) / sizeof(refusals[0]));
}

static void r71_not_asked_for_the_next_engine_runs(void **state)
{
#if defined(SYS_epoll_create1)
    static const struct refusal refusals[] = {
        {ENOSYS, {SYS_io_uring_setup}, NULL, 0, "epoll", "engine epoll"},
        {EPERM, {SYS_io_uring_setup}, NULL, 0, "epoll", "engine epoll"},
        {EINVAL, {SYS_io_uring_register}, NULL, 0, "epoll", "engine uring needs Linux "},
        {ENOMEM, {SYS_io_uring_setup}, NULL, 0, "epoll", "engine uring: "},
        {ENOSYS, {SYS_epoll_create1, SYS_io_uring_setup}, NULL, 0, "poll", "engine uring: "},
        {EPERM, {SYS_epoll_create1, SYS_io_uring_setup}, NULL, 0, "poll", "engine uring: "},
        {EINVAL, {SYS_epoll_create1, SYS_io_uring_register}, NULL, 0, "poll", "engine uring needs Linux "},
    };
    (void)state;
    expect(refusals, sizeof(refusals) / sizeof(refusals[0]));
#else
    (void)state;
#endif
}

/* What runs where nobody names an engine. */
static const char *unnamed(const struct ior_os *os, void *engine_arg, int *ret)
{
    static char name[16];
    struct ior_config config = {.struct_size = sizeof(config), .os = os, .engine_arg = engine_arg};
    struct ior_runtime *rt = NULL;
    *ret = ior_runtime_new(&config, &handler, NULL, &rt);
    if (*ret < 0)
        return "";
    snprintf(name, sizeof(name), "%s", ior_runtime_engine(rt));
    ior_runtime_free(rt);
    return name;
}

static void nobody_names_an_engine(void **state)
{
    struct ior_uring_options whole = {.struct_size = sizeof(whole), .flags = IOR_URING_WHOLE_BUFFERS};
    struct ior_uring_options bad = {.struct_size = sizeof(bad), .entries = 3};
    struct ior_config config = {.struct_size = sizeof(config), .engine = "uring", .os = ior_os_default()};
    struct ior_runtime *rt = NULL;
    int err;
    (void)state;
    if (unnamed(NULL, NULL, &err)[0] != 'u') {
        print_message("io_uring of this kernel is not the default\n");
        skip();
    }
    assert_string_equal(unnamed(NULL, &whole, &err), "epoll"); /* as on a kernel that knows no others */
    assert_int_equal(err, 0);
    (void)unnamed(NULL, &bad, &err);
    assert_int_equal(err, -EINVAL);
    assert_string_equal(unnamed(ior_os_default(), NULL, &err), "epoll"); /* it would go past those calls */
    assert_int_equal(ior_runtime_new(&config, &handler, NULL, &rt), 0);
    assert_string_equal(ior_runtime_engine(rt), "uring"); /* named, it does */
    ior_runtime_free(rt);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(r71_asked_for_by_name_it_says_why),
        cmocka_unit_test(r71_not_asked_for_the_next_engine_runs),
        cmocka_unit_test(nobody_names_an_engine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
#else
int main(void)
{
    printf("skipped: this build has no engine on io_uring\n");
    return 77;
}
#endif
