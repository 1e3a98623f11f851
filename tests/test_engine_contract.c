/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine contract on the engine named by IOR_ENGINE, and the table of engines. The contract starts threads with
 * pthread_create, so this is worth a run under ThreadSanitizer.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "support/check.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <ioreactor.h>

#include "support/contract.h"

static void engines_are_found_by_name_and_in_order(void **state)
{
    unsigned count = 0;

    (void)state;
    for (const struct ior_engine_ops *at; (at = ior_engine_at(count)) != NULL; count++)
        assert_ptr_equal(ior_engine_named(at->name), at);
    assert_true(count > 0);
    assert_null(ior_engine_at(count + 1));
    assert_null(ior_engine_at(UINT32_MAX));
    assert_null(ior_engine_named("no such engine"));
    assert_null(ior_engine_named(""));
    assert_null(ior_engine_named(NULL));
    assert_non_null(ior_engine_named("poll"));
#if defined(__linux__)
    unsigned at = 0;
    if (ior_engine_named("uring"))
        assert_string_equal(ior_engine_at(at++)->name, "uring");
    assert_string_equal(ior_engine_at(at++)->name, "epoll");
    assert_string_equal(ior_engine_at(at)->name, "poll");
#endif
}

static void the_environment_names_an_engine(void **state)
{
    const char *before = ior_engine_from_env();
    char *kept = before ? strdup(before) : NULL;

    (void)state;
    assert_int_equal(setenv("IOR_ENGINE", "poll", 1), 0);
    assert_string_equal(ior_engine_from_env(), "poll");
    assert_int_equal(setenv("IOR_ENGINE", "", 1), 0);
    assert_null(ior_engine_from_env());
    assert_int_equal(unsetenv("IOR_ENGINE"), 0);
    assert_null(ior_engine_from_env());
    if (kept)
        setenv("IOR_ENGINE", kept, 1);
    free(kept);
}

static const struct ior_engine_ops *ops;

/* Puts another file under the number of `fd`, as somebody does who closes what is not theirs. */
static void replace(int fd, int ends[2])
{
    close(fd);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    if (ends[0] != fd) {
        assert_int_equal(dup2(ends[0], fd), fd);
        close(ends[0]);
        ends[0] = fd;
    }
}

/* R08, R13: the built-in engines agree on what a number is worth that was closed, or came again. */
static void a_number_that_came_again_is_another_file(void **state)
{
    struct ior_engine_config config = {.os = ior_os_default(), .max_records = 16};
    struct ior_record records[16];
    int old[2], new[2];
    void *engine;

    (void)state;
    assert_int_equal(ops->open(&config, &engine), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, old), 0);
    assert_int_equal(ops->watch(engine, old[0], 16, IOR_WRITE), 0);
    assert_int_equal(ops->watch(engine, old[0], 32, IOR_WRITE), -EEXIST);
    replace(old[0], new);
    assert_int_equal(ops->rewatch(engine, old[0], 16, IOR_READ), -ENOENT);
    /* Watched anew it is the new file; the old one has nothing to say. */
    assert_int_equal(ops->watch(engine, new[0], 32, IOR_WRITE), 0);
    assert_int_equal(ops->wait(engine, records, 16, 0), 1);
    assert_int_equal(records[0].id, 32);
    assert_int_equal(records[0].what, IOR_WRITE);
    close(old[1]);
    replace(new[0], old);
    assert_int_equal(ops->unwatch(engine, new[0], 32), -ENOENT);
    assert_int_equal(ops->wait(engine, records, 16, 0), 0);
    assert_int_equal(ops->watch(engine, old[0], 48, 0), 0);
    close(old[0]);
    assert_int_equal(ops->rewatch(engine, old[0], 48, IOR_READ), -EBADF);
    assert_int_equal(ops->unwatch(engine, old[0], 48), -EBADF);
    assert_int_equal(ops->wait(engine, records, 16, 0), 0);
    close(old[1]);
    close(new[1]);
    ops->close(engine, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(engines_are_found_by_name_and_in_order),
        cmocka_unit_test(the_environment_names_an_engine),
        cmocka_unit_test(a_number_that_came_again_is_another_file),
    };
    const char *name = ior_engine_from_env();

    ops = name ? ior_engine_named(name) : ior_engine_at(0);

    if (!ops) {
        printf("skipped: no engine \"%s\" in this build\n", name);
        return 77;
    }
    int failed = cmocka_run_group_tests_name("engine table", tests, NULL, NULL);
    return contract_run(ops->name, ops, NULL) + failed;
}
