/* SPDX-License-Identifier: Apache-2.0 */
/* The waker of the real engines, on an eventfd and on the pair of sockets that stands in for one. */
#include "support/check.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine/engine.h"

static const bool with_eventfd = true;
static const bool with_pair = false;

static bool readable(const struct ior__waker *waker)
{
    struct pollfd pfd = {.fd = waker->read_fd, .events = POLLIN};

    return poll(&pfd, 1, 0) == 1;
}

static void wakes_until_it_is_drained(void **state)
{
    const bool *try_eventfd = *state;
    struct ior__waker waker;

    assert_int_equal(ior__waker_open(&waker, *try_eventfd), 0);
    for (int round = 0; round < 3; round++) {
        assert_false(readable(&waker));
        assert_int_equal(ior__waker_wake(&waker), 0);
        assert_int_equal(ior__waker_wake(&waker), 0);
        assert_true(readable(&waker));
        ior__waker_drain(&waker);
        assert_false(readable(&waker));
        ior__waker_drain(&waker);
    }
    ior__waker_close(&waker);
}

/* A full waker is awake: no error, nothing blocks, and one drain empties it. */
static void wakes_beyond_all_bounds_are_merged(void **state)
{
    const bool *try_eventfd = *state;
    struct ior__waker waker;

    assert_int_equal(ior__waker_open(&waker, *try_eventfd), 0);
    for (int i = 0; i < 200000; i++) {
        errno = EXDEV;
        assert_int_equal(ior__waker_wake(&waker), 0);
        assert_int_equal(errno, EXDEV);
    }
    assert_true(readable(&waker));
    ior__waker_drain(&waker);
    assert_false(readable(&waker));
    ior__waker_close(&waker);
}

static void both_ends_are_private_and_do_not_block(void **state)
{
    const bool *try_eventfd = *state;
    struct ior__waker waker;

    assert_int_equal(ior__waker_open(&waker, *try_eventfd), 0);
    for (int i = 0; i < 2; i++) {
        int fd = i ? waker.write_fd : waker.read_fd;

        assert_true(fd > 2);
        assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
        assert_int_equal(fcntl(fd, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
    }
    assert_int_equal(waker.read_fd == waker.write_fd, *try_eventfd);
    ior__waker_close(&waker);
    assert_int_equal(fcntl(waker.read_fd, F_GETFD), -1);
    assert_int_equal(fcntl(waker.write_fd, F_GETFD), -1);
}

/* R36: also where the other end is gone, because somebody closed what is not theirs. */
static void a_wake_never_raises_sigpipe(void **state)
{
    const bool *try_eventfd = *state;
    struct ior__waker waker;

    if (*try_eventfd) {
        print_message("an eventfd has no other end\n");
        return;
    }
    assert_int_equal(ior__waker_open(&waker, *try_eventfd), 0);
    close(waker.read_fd);
    errno = EXDEV;
    assert_int_equal(ior__waker_wake(&waker), -EPIPE);
    assert_int_equal(errno, EXDEV);
    close(waker.write_fd);
}

#define BOTH(test)                                                     \
    cmocka_unit_test_prestate(test, (void *)(uintptr_t)&with_eventfd), \
        cmocka_unit_test_prestate(test, (void *)(uintptr_t)&with_pair)

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(wakes_until_it_is_drained),
        BOTH(wakes_beyond_all_bounds_are_merged),
        BOTH(both_ends_are_private_and_do_not_block),
        BOTH(a_wake_never_raises_sigpipe),
    };

    return cmocka_run_group_tests_name("waker", tests, NULL, NULL);
}
