/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses as text and back: what is read is written the same, what does not fit is refused. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "support/check.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <ioreactor.h>

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))
#define PATH_OFFSET offsetof(struct sockaddr_un, sun_path)
#define TEXT_MAX IOR_ADDR_TEXT_MAX

static const char path_107[] =
    "unix:/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
    "aaaaaaaaaaaaaaaaaaaaaaaa";

static void what_is_read_is_written_the_same(void **state)
{
    static const char *const texts[] = {
        "127.0.0.1:80",
        "0.0.0.0:0",
        "255.255.255.255:65535",
        "10.1.2.3:1",
        "[::1]:80",
        "[::]:0",
        "[2001:db8::ff00:42:8329]:65535",
        "[fe80::1%1]:80",
        "[fe80::1%4294967295]:7",
        "[::ffff:1.2.3.4]:9",
        "unix:/run/x.sock",
        "unix:relative",
        "unix:with space and: colon",
        "unix:@name",
        "unix:@",
        "unix:@@",
        "unix:/a\\x0ab",
        "unix:/\\xc3\\xa9",
        "unix:@a\\x00b",
        "unix:@\\x00",
        "unix:\\x40file",
        "unix:/back\\x5cslash",
        "unix:/\\x7f\\xff\\x01",
        path_107,
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        struct ior_addr addr, again;
        char text[TEXT_MAX];

        assert_int_equal(ior_addr_parse(&addr, texts[i]), 0);
        assert_int_equal(ior_addr_format(&addr, text, sizeof(text)), (int)strlen(texts[i]));
        assert_string_equal(text, texts[i]);
        assert_int_equal(ior_addr_parse(&again, text), 0);
        assert_memory_equal(&again, &addr, sizeof(addr));
        assert_true(ior_addr_equal(&addr, &again));
    }
}

static void other_spellings_are_read_too(void **state)
{
    static const char *const pairs[][2] = {
        {"127.0.0.1:0080", "127.0.0.1:80"}, {"[0:0:0:0:0:0:0:1]:5", "[::1]:5"}, {"[FE80::A%3]:5", "[fe80::a%3]:5"},
        {"[::1%0]:5", "[::1]:5"},           {"unix:/\\x61\\x62", "unix:/ab"},   {"unix:/a\\b", "unix:/a\\x5cb"},
        {"unix:/a\\x", "unix:/a\\x5cx"},    {"unix:/a\\x4", "unix:/a\\x5cx4"},  {"unix:/\\xC3", "unix:/\\xc3"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(pairs); i++) {
        struct ior_addr addr;
        char text[TEXT_MAX];

        assert_int_equal(ior_addr_parse(&addr, pairs[i][0]), 0);
        assert_true(ior_addr_format(&addr, text, sizeof(text)) > 0);
        assert_string_equal(text, pairs[i][1]);
    }
}

static void what_is_no_address_is_refused(void **state)
{
    static const char *const texts[] = {
        "",
        ":",
        ":80",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:65536",
        "127.0.0.1:99999999999999999999",
        "127.0.0.1:-1",
        "127.0.0.1:+1",
        "127.0.0.1: 80",
        "127.0.0.1:80 ",
        "127.0.0.1:0x50",
        "127.0.0.1:80:80",
        " 127.0.0.1:80",
        "127.0.0:80",
        "127.0.0.1.1:80",
        "127.0.0.256:80",
        "127.0.0.01:80",
        "1:80",
        "0x7f.1:80",
        "localhost:80",
        "example.org:80",
        "127.0.0.1%lo:80",
        "::1:80",
        "[::1]",
        "[::1]80",
        "[::1]:",
        "[::1",
        "[]:80",
        "[::1]x:80",
        "[:::1]:80",
        "[12345::]:80",
        "[127.0.0.1]:80",
        "[::1%]:80",
        "[::1%%1]x",
        "[[::1]]:80",
        "unix:",
        "unix:/a\\x00b",
        "unix:\\x00",
        "Unix:/x",
        "unix",
        "tcp:127.0.0.1:80",
    };
    struct ior_addr addr, before;

    (void)state;
    memset(&before, 0x5a, sizeof(before));
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        addr = before;
        if (ior_addr_parse(&addr, texts[i]) != -EINVAL)
            fail_msg("\"%s\" gave %s", texts[i], ior_errname(ior_addr_parse(&addr, texts[i])));
        assert_memory_equal(&addr, &before, sizeof(addr));
    }
    assert_int_equal(ior_addr_parse(&addr, NULL), -EINVAL);
    assert_int_equal(ior_addr_parse(NULL, "127.0.0.1:80"), -EINVAL);
}

static void zones_are_names_or_numbers(void **state)
{
    struct ior_addr named, numbered, addr;
    unsigned index = if_nametoindex("lo");
    char text[64];

    (void)state;
    if (index != 0) {
        assert_int_equal(ior_addr_parse(&named, "[fe80::1%lo]:80"), 0);
        snprintf(text, sizeof(text), "[fe80::1%%%u]:80", index);
        assert_int_equal(ior_addr_parse(&numbered, text), 0);
        assert_true(ior_addr_equal(&named, &numbered));
        assert_int_equal(ior_addr_parse(&addr, "[fe80::1]:80"), 0);
        assert_false(ior_addr_equal(&named, &addr));
    }
    memset(&addr, 0x5a, sizeof(addr));
    named = addr;
    assert_int_equal(ior_addr_parse(&addr, "[fe80::1%nosuchzone]:80"), -ENODEV);
    assert_int_equal(ior_addr_parse(&addr, "[fe80::1%4294967296]:80"), -ENODEV);
    assert_int_equal(ior_addr_parse(&addr, "[fe80::1%-1]:80"), -ENODEV);
    assert_memory_equal(&addr, &named, sizeof(addr));
}

/* R79: what does not fit is refused; cut short it would name something else. */
static void r79_nothing_is_cut_short(void **state)
{
    struct ior_addr addr;
    struct sockaddr_un sun;
    char text[1200];

    (void)state;
    assert_int_equal(strlen(path_107), strlen("unix:") + 107);
    assert_int_equal(ior_addr_parse(&addr, path_107), 0);
    memcpy(&sun, addr.raw, sizeof(sun));
    assert_int_equal(strnlen(sun.sun_path, sizeof(sun.sun_path)), 107);
    snprintf(text, sizeof(text), "%sb", path_107);
    assert_int_equal(ior_addr_parse(&addr, text), -ENAMETOOLONG);
    snprintf(text, sizeof(text), "unix:@%s", path_107 + strlen("unix:"));
    assert_int_equal(ior_addr_parse(&addr, text), 0);
    assert_int_equal(addr.len, PATH_OFFSET + 108);
    strcat(text, "b");
    assert_int_equal(ior_addr_parse(&addr, text), -ENAMETOOLONG);

    /* A zone that begins like one that exists, hosts and ports that begin like good ones. */
    assert_int_equal(ior_addr_parse(&addr, "[fe80::1%lo000000000000000000]:80"), -ENODEV);
    snprintf(text, sizeof(text), "[::1%%%0200d]:80", 1);
    assert_int_not_equal(ior_addr_parse(&addr, text), 0);
    for (size_t len = 1; len < 1000; len += 37) {
        snprintf(text, sizeof(text), "127.0.0.1%*s:80", (int)len, "");
        assert_int_equal(ior_addr_parse(&addr, text), -EINVAL);
        snprintf(text, sizeof(text), "[::1%*s]:80", (int)len, "");
        assert_int_equal(ior_addr_parse(&addr, text), -EINVAL);
        snprintf(text, sizeof(text), "127.0.0.1:80%*s", (int)len, "");
        assert_int_equal(ior_addr_parse(&addr, text), -EINVAL);
    }
}

/* Whatever length is given: nothing past sun_path is a name. */
static void any_unix_address_fits_the_longest_text(void **state)
{
    const struct sockaddr_un sun = {.sun_family = AF_UNIX};
    struct ior_addr addr;
    char text[IOR_ADDR_TEXT_MAX];
    (void)state;
    for (unsigned fill = 0; fill < 2; fill++) {
        memset(addr.raw, (int)fill, sizeof(addr.raw)); /* an abstract name of zeros, a path of \x01 */
        memcpy(addr.raw, &sun, offsetof(struct sockaddr_un, sun_path));
        addr.len = sizeof(addr.raw);
        int len = ior_addr_format(&addr, text, sizeof(text));
        assert_int_equal(len, 5 + 4 * sizeof(sun.sun_path) - (fill == 0 ? 3 : 0));
    }
}

static void format_needs_room_for_all_of_it(void **state)
{
    static const char *const texts[] = {"127.0.0.1:80", "[fe80::1%17]:65535", "unix:/run/x", "unix:@\\x00"};

    (void)state;
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        struct ior_addr addr;
        char text[64];
        size_t len = strlen(texts[i]);

        assert_int_equal(ior_addr_parse(&addr, texts[i]), 0);
        for (size_t size = 0; size <= len; size++) {
            memset(text, 'x', sizeof(text));
            assert_int_equal(ior_addr_format(&addr, text, size), -ENOSPC);
            assert_int_equal(text[0], 'x');
        }
        assert_int_equal(ior_addr_format(&addr, text, len + 1), (int)len);
        assert_int_equal(ior_addr_format(&addr, NULL, 0), -ENOSPC);
    }
}

static void any_address_fits_the_text_that_is_promised(void **state)
{
    char source[8 + 107 * 4 + 1] = "unix:@";
    struct ior_addr addr;
    char text[IOR_ADDR_TEXT_MAX];

    (void)state;
    for (int i = 0; i < 107; i++)
        strcat(source, "\\xff");
    assert_int_equal(ior_addr_parse(&addr, source), 0);
    assert_int_equal(ior_addr_format(&addr, text, sizeof(text)), (int)strlen(source));
    assert_string_equal(text, source);
}

static void what_names_no_endpoint_has_no_text(void **state)
{
    struct ior_addr addr = {0};
    struct sockaddr_in sin = {.sin_family = AF_INET};
    sa_family_t family = AF_UNIX;
    char text[TEXT_MAX];

    (void)state;
    assert_int_equal(ior_addr_format(&addr, text, sizeof(text)), -EAFNOSUPPORT);
    assert_int_equal(ior_addr_port(&addr), 0);
    memcpy(addr.raw, &sin, sizeof(sin));
    addr.len = sizeof(sin) - 1;
    assert_int_equal(ior_addr_format(&addr, text, sizeof(text)), -EAFNOSUPPORT);
    addr.len = sizeof(addr.raw) + 1;
    assert_int_equal(ior_addr_format(&addr, text, sizeof(text)), -EAFNOSUPPORT);
    assert_int_equal(ior_addr_format(NULL, text, sizeof(text)), -EINVAL);
    /* What accept answers for a Unix client that is not bound. */
    memset(&addr, 0, sizeof(addr));
    memcpy(addr.raw + offsetof(struct sockaddr_un, sun_family), &family, sizeof(family));
    addr.len = PATH_OFFSET;
    assert_int_equal(ior_addr_format(&addr, text, sizeof(text)), 5);
    assert_string_equal(text, "unix:");
}

static void ports_are_in_the_order_of_the_host(void **state)
{
    struct ior_addr addr;
    struct sockaddr_in sin;

    (void)state;
    assert_int_equal(ior_addr_parse(&addr, "1.2.3.4:258"), 0);
    assert_int_equal(ior_addr_port(&addr), 258);
    memcpy(&sin, addr.raw, sizeof(sin));
    assert_memory_equal(&sin.sin_port, "\1\2", 2);
    assert_memory_equal(&sin.sin_addr, "\1\2\3\4", 4);
    assert_int_equal(ior_addr_parse(&addr, "[::1]:65535"), 0);
    assert_int_equal(ior_addr_port(&addr), 65535);
    assert_int_equal(ior_addr_parse(&addr, "unix:/x"), 0);
    assert_int_equal(ior_addr_port(&addr), 0);
    assert_int_equal(ior_addr_port(NULL), 0);
}

static void different_endpoints_are_not_equal(void **state)
{
    static const char *const texts[] = {
        "127.0.0.1:80",   "127.0.0.1:81",   "127.0.0.2:80", "[::1]:80", "[::1]:81", "[::2]:80", "[::ffff:127.0.0.1]:80",
        "[fe80::1%1]:80", "[fe80::1%2]:80", "[fe80::1]:80", "unix:/a",  "unix:/b",  "unix:/ab", "unix:@a",
        "unix:@b",        "unix:@ab",       "unix:@a\\x00", "unix:a",
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        for (size_t j = 0; j < COUNT_OF(texts); j++) {
            struct ior_addr a, b;

            assert_int_equal(ior_addr_parse(&a, texts[i]), 0);
            assert_int_equal(ior_addr_parse(&b, texts[j]), 0);
            assert_int_equal(ior_addr_equal(&a, &b), i == j);
        }
    }
}

static void equality_looks_at_the_endpoint_alone(void **state)
{
    struct ior_addr a, b;
    struct sockaddr_in6 sin6;

    (void)state;
    /* A path with and without its terminating zero; bytes past the length; the flow label. */
    assert_int_equal(ior_addr_parse(&a, "unix:/run/x"), 0);
    b = a;
    b.len--;
    b.raw[100] = 'z';
    b.reserved = 7;
    assert_true(ior_addr_equal(&a, &b));
    assert_int_equal(ior_addr_parse(&a, "[fe80::1%1]:80"), 0);
    memcpy(&sin6, a.raw, sizeof(sin6));
    sin6.sin6_flowinfo = 77;
    b = a;
    memcpy(b.raw, &sin6, sizeof(sin6));
    assert_true(ior_addr_equal(&a, &b));
    memset(&a, 0, sizeof(a));
    assert_false(ior_addr_equal(&a, &a));
    assert_false(ior_addr_equal(&a, &b));
    assert_false(ior_addr_equal(NULL, &b));
}

/* Random text never crashes, and whatever is taken reads back the same. */
static void any_text_is_read_or_refused(void **state)
{
    static const char alphabet[] = "0123456789abcdefx.:[]%@\\/unix lo";
    uint64_t seed = 42;

    (void)state;
    for (int round = 0; round < 200000; round++) {
        struct ior_addr addr, again;
        char source[64], text[TEXT_MAX];
        size_t len = 0;

        if (round % 3 == 0)
            len = (size_t)snprintf(source, sizeof(source), "unix:");
        else if (round % 3 == 1)
            len = (size_t)snprintf(source, sizeof(source), "[fe80::");
        do {
            seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
            source[len++] = alphabet[(seed >> 33) % (sizeof(alphabet) - 1)];
        } while (len < 40 && (seed >> 60) != 0);
        source[len] = '\0';
        if (ior_addr_parse(&addr, source) < 0)
            continue;
        assert_true(ior_addr_format(&addr, text, sizeof(text)) > 0);
        assert_int_equal(ior_addr_parse(&again, text), 0);
        assert_memory_equal(&addr, &again, sizeof(addr));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_read_is_written_the_same),
        cmocka_unit_test(other_spellings_are_read_too),
        cmocka_unit_test(what_is_no_address_is_refused),
        cmocka_unit_test(zones_are_names_or_numbers),
        cmocka_unit_test(r79_nothing_is_cut_short),
        cmocka_unit_test(any_unix_address_fits_the_longest_text),
        cmocka_unit_test(format_needs_room_for_all_of_it),
        cmocka_unit_test(any_address_fits_the_text_that_is_promised),
        cmocka_unit_test(what_names_no_endpoint_has_no_text),
        cmocka_unit_test(ports_are_in_the_order_of_the_host),
        cmocka_unit_test(different_endpoints_are_not_equal),
        cmocka_unit_test(equality_looks_at_the_endpoint_alone),
        cmocka_unit_test(any_text_is_read_or_refused),
    };

    return cmocka_run_group_tests_name("addr", tests, NULL, NULL);
}
