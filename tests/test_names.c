/* SPDX-License-Identifier: Apache-2.0 */
/* Names for people: each is there, right, and static. */
#include "support/check.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include <ioreactor.h>

static void the_version_is_the_headers(void **state)
{
    char text[32];

    (void)state;
    snprintf(text, sizeof(text), "%d.%d.%d", IOR_VERSION_MAJOR, IOR_VERSION_MINOR, IOR_VERSION_PATCH);
    assert_string_equal(ior_version(), text);
    assert_string_equal(ior_version(), IOR_VERSION_STRING);
}

static void each_set_of_flags_has_its_name(void **state)
{
    static const char *const names[] = {"read", "write", "hup", "err", "bad"};

    (void)state;
    for (unsigned io = 0; io < 32; io++) {
        char expected[64] = "";

        for (unsigned bit = 0; bit < 5; bit++) {
            if (!(io & 1u << bit))
                continue;
            if (*expected)
                strcat(expected, "|");
            strcat(expected, names[bit]);
        }
        assert_string_equal(ior_io_name(io), io ? expected : "none");
        assert_ptr_equal(ior_io_name(io), ior_io_name(io));
    }
    assert_string_equal(ior_io_name(IOR_READ | IOR_WRITE), "read|write");
    assert_string_equal(ior_io_name(IOR_READ | 1024u), "read");
    assert_string_equal(ior_io_name(0x80000000u), "none");
}

static void flags_have_their_arithmetic(void **state)
{
    (void)state;
    assert_int_equal(ior_io_negate(IOR_READ), IOR_WRITE);
    assert_int_equal(ior_io_negate(IOR_READ | IOR_HUP), IOR_WRITE);
    assert_int_equal(ior_io_negate(IOR_NONE), IOR_READ | IOR_WRITE);
    assert_true(ior_io_is_none(IOR_HUP));
    assert_false(ior_io_is_none(IOR_WRITE));
    assert_true(ior_io_is_read_only(IOR_READ | IOR_ERR));
    assert_false(ior_io_is_read_only(IOR_READ | IOR_WRITE));
    assert_true(ior_io_is_write_only(IOR_WRITE));
    assert_true(ior_io_is_read_write(IOR_READ | IOR_WRITE | IOR_HUP));
}

static void errors_are_named_with_either_sign(void **state)
{
    (void)state;
    assert_string_equal(ior_errname(ECONNRESET), "ECONNRESET");
    assert_string_equal(ior_errname(-ECONNRESET), "ECONNRESET");
    assert_string_equal(ior_strerror(ECONNRESET), ior_strerror(-ECONNRESET));
    assert_string_equal(ior_errname(0), "0");
    assert_string_equal(ior_strerror(0), "success");
    assert_ptr_equal(ior_strerror(EPIPE), ior_strerror(-EPIPE));
}

static void unknown_errors_are_said_to_be_unknown(void **state)
{
    const int unknown[] = {INT_MAX, INT_MIN, 4000, -4000};

    (void)state;
    for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++) {
        assert_string_equal(ior_errname(unknown[i]), "E?");
        assert_string_equal(ior_strerror(unknown[i]), "unknown error");
    }
}

/* Every error that the headers promise somewhere. */
static void the_errors_of_the_interface_are_all_known(void **state)
{
    const int errors[] = {EINVAL, EPERM,        ENOENT,     EACCES,       EALREADY,   EOPNOTSUPP,   ENOMEM,
                          ENOSPC, ESHUTDOWN,    EADDRINUSE, EMFILE,       ENFILE,     EEXIST,       EBADF,
                          EBUSY,  EPROTOTYPE,   ENOTCONN,   EMSGSIZE,     ENOBUFS,    EPIPE,        EOVERFLOW,
                          EIO,    ENAMETOOLONG, ENODEV,     EAFNOSUPPORT, ENOSYS,     ENOTSUP,      EDEADLK,
                          EAGAIN, ECANCELED,    ETIMEDOUT,  ECONNREFUSED, ECONNRESET, ECONNABORTED, EINTR};

    (void)state;
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        assert_int_equal(ior_errname(errors[i])[0], 'E');
        assert_string_not_equal(ior_errname(errors[i]), "E?");
        assert_string_not_equal(ior_strerror(errors[i]), "unknown error");
    }
}

static void events_and_causes_have_names(void **state)
{
    static const char *const events[] = {"unknown", "accepted", "open",   "data", "eof",      "drained",
                                         "ready",   "deadline", "custom", "end",  "datagram", "send_error"};
    static const char *const whys[] = {"unknown", "asked", "eof", "error", "timeout", "shutdown", "unknown"};

    (void)state;
    for (int i = 0; i <= IOR_EV_SEND_ERROR; i++)
        assert_string_equal(ior_event_name((enum ior_event_type)i), events[i]);
    assert_string_equal(ior_event_name(IOR_EV_JOB), "job");
    assert_string_equal(ior_event_name((enum ior_event_type)0xff), "unknown");
    assert_string_equal(ior_event_name(IOR_EV_SIGNAL), "signal");
    assert_string_equal(ior_event_name(IOR_EV_EXITED), "exited");
    assert_string_equal(ior_event_name(IOR_EV_CHANGED), "changed");
    assert_string_equal(ior_event_name(IOR_EV_FDS), "fds");
    assert_string_equal(ior_event_name(IOR_EV_FILE), "file");
    assert_string_equal(ior_event_name(IOR_EV_RESOLVED), "resolved");
    for (int i = 0; i <= IOR_SHUTDOWN + 1; i++)
        assert_string_equal(ior_why_name((enum ior_why)i), whys[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_version_is_the_headers),
        cmocka_unit_test(each_set_of_flags_has_its_name),
        cmocka_unit_test(flags_have_their_arithmetic),
        cmocka_unit_test(errors_are_named_with_either_sign),
        cmocka_unit_test(unknown_errors_are_said_to_be_unknown),
        cmocka_unit_test(the_errors_of_the_interface_are_all_known),
        cmocka_unit_test(events_and_causes_have_names),
    };

    return cmocka_run_group_tests_name("names", tests, NULL, NULL);
}
