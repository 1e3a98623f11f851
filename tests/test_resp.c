/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reader of requests of examples/kv, and what it stands on: the hash table and the replies. The reader gets each
 * request whole, cut at each byte, and with each byte changed; it must never look past its input, for which each input
 * lies in a block of just its length (the sanitizers see the rest).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "../examples/kv/reply.c"
#include "../examples/kv/resp.c"
#include "../examples/kv/table.c"

static struct resp_request request;

static enum resp_result parse(const char *text, size_t len)
{
    static char *copy;
    free(copy);
    copy = NULL;
    if (!text)
        return RESP_MORE;
    copy = malloc(len ? len : 1);
    assert_non_null(copy);
    memcpy(copy, text, len);
    return resp_parse(copy, len, &request);
}

static enum resp_result parse_text(const char *text)
{
    return parse(text, strlen(text));
}

static void assert_arg(size_t i, const char *text, size_t len)
{
    assert_true(i < request.count);
    assert_int_equal(request.args[i].len, len);
    assert_memory_equal(request.args[i].bytes, text, len);
}

static void assert_error(const char *text, const char *why)
{
    assert_int_equal(parse_text(text), RESP_ERROR);
    assert_string_equal(request.error, why);
}

static void reads_an_array(void **state)
{
    (void)state;
    assert_int_equal(parse("*3\r\n$3\r\nSET\r\n$2\r\n\0\n\r\n$0\r\n\r\nrest", 31), RESP_REQUEST);
    assert_int_equal(request.used, 27);
    assert_int_equal(request.count, 3);
    assert_arg(0, "SET", 3);
    assert_arg(1, "\0\n", 2);
    assert_arg(2, "", 0);
}

static void reads_a_line(void **state)
{
    (void)state;
    assert_int_equal(parse_text("  SET\tk 'a b' \"\" x\"y\r\nPING"), RESP_REQUEST);
    assert_int_equal(request.used, 22);
    assert_int_equal(request.count, 5);
    assert_arg(0, "SET", 3);
    assert_arg(1, "k", 1);
    assert_arg(2, "a b", 3);
    assert_arg(3, "", 0);
    assert_arg(4, "x\"y", 3);
    assert_int_equal(parse_text("PING\n"), RESP_REQUEST);
    assert_int_equal(request.count, 1);
    assert_int_equal(request.used, 5);
}

static void empty_requests_want_no_answer(void **state)
{
    (void)state;
    const char *empty[] = {"\r\n", "\n", "  \r\n", "*0\r\n", "*-1\r\n"};
    for (size_t i = 0; i < sizeof(empty) / sizeof(empty[0]); i++) {
        assert_int_equal(parse_text(empty[i]), RESP_REQUEST);
        assert_int_equal(request.used, strlen(empty[i]));
        assert_int_equal(request.count, 0);
    }
    assert_int_equal(parse("", 0), RESP_MORE);
}

static void errors_have_the_words_of_redis(void **state)
{
    (void)state;
    assert_error("*x\r\n", "Protocol error: invalid multibulk length");
    assert_error("*\r\n", "Protocol error: invalid multibulk length");
    assert_error("*1\rx", "Protocol error: invalid multibulk length");
    assert_error("*4097\r\n", "Protocol error: invalid multibulk length");
    assert_error("*999999999999999999999999\r\n", "Protocol error: invalid multibulk length");
    assert_error("*11111111111111111111111111111111", "Protocol error: too big mbulk count string");
    assert_error("*1\r\n:1\r\n", "Protocol error: expected '$', got ':'");
    assert_error("*1\r\n\x01", "Protocol error: expected '$', got 0x01");
    assert_error("*1\r\n$-1\r\n", "Protocol error: invalid bulk length");
    assert_error("*1\r\n$x\r\n", "Protocol error: invalid bulk length");
    assert_error("*1\r\n$11111111111111111111111111111111", "Protocol error: too big bulk count string");
    assert_error("*1\r\n$3\r\nabcd\r\n", "Protocol error: expected CRLF behind a bulk string");
    assert_error("SET \"k v\r\n", "Protocol error: unbalanced quotes in request");
    assert_error("SET \"k\"v\r\n", "Protocol error: unbalanced quotes in request");
}

/* A request that would be too large is refused as soon as its length is known, and by what it has in all. */
static void large_requests_are_refused_early(void **state)
{
    (void)state;
    char text[64];
    assert_error("*1\r\n$1048577\r\n", "Protocol error: too big request");
    snprintf(text, sizeof(text), "*1\r\n$%zu\r\n", RESP_REQUEST_MAX_BYTES - 16);
    assert_int_equal(parse_text(text), RESP_MORE);
    assert_int_equal(request.need, RESP_REQUEST_MAX_BYTES - 16 + strlen(text) + 2);

    /* Two halves, the second of which is one byte too much. */
    size_t half = RESP_REQUEST_MAX_BYTES / 2;
    char *bytes = malloc(RESP_REQUEST_MAX_BYTES);
    assert_non_null(bytes);
    memset(bytes, 'x', RESP_REQUEST_MAX_BYTES);
    size_t head = (size_t)snprintf(bytes, 64, "*2\r\n$%zu\r\n", half);
    bytes[head] = 'x';
    memcpy(bytes + head + half, "\r\n", 2);
    size_t second = head + half + 2;
    size_t header = 11; /* "$......\r\n" with its six digits, and the end of the string */
    size_t fits = RESP_REQUEST_MAX_BYTES - second - header;
    size_t len = second + (size_t)snprintf(bytes + second, 64, "$%zu\r\n", fits);
    assert_int_equal(resp_parse(bytes, len, &request), RESP_MORE);
    assert_int_equal(request.need, RESP_REQUEST_MAX_BYTES);
    len = second + (size_t)snprintf(bytes + second, 64, "$%zu\r\n", fits + 1);
    assert_int_equal(resp_parse(bytes, len, &request), RESP_ERROR);

    memset(bytes, 'x', RESP_INLINE_MAX_BYTES);
    assert_int_equal(resp_parse(bytes, RESP_INLINE_MAX_BYTES - 1, &request), RESP_MORE);
    assert_int_equal(resp_parse(bytes, RESP_INLINE_MAX_BYTES, &request), RESP_ERROR);
    assert_string_equal(request.error, "Protocol error: too big inline request");
    free(bytes);
}

static void too_many_words_are_refused(void **state)
{
    (void)state;
    char text[2 * (RESP_ARGS_MAX + 1) + 1];
    for (size_t i = 0; i < RESP_ARGS_MAX + 1; i++)
        memcpy(text + 2 * i, "x ", 2);
    text[2 * RESP_ARGS_MAX - 1] = '\n';
    assert_int_equal(parse(text, 2 * RESP_ARGS_MAX), RESP_REQUEST);
    assert_int_equal(request.count, RESP_ARGS_MAX);
    text[2 * RESP_ARGS_MAX - 1] = ' ';
    text[2 * RESP_ARGS_MAX + 1] = '\n';
    assert_int_equal(parse(text, 2 * RESP_ARGS_MAX + 2), RESP_ERROR);
}

static const char *const good[] = {
    "*3\r\n$3\r\nSET\r\n$12\r\nkey-key\r\nkey\r\n$1\r\nv\r\n",
    "*1\r\n$4\r\nPING\r\n",
    "*2\r\n$4\r\nECHO\r\n$0\r\n\r\n",
    "SET key 'a b c'\r\n",
    "*0\r\n",
    "\r\n",
};

/* Each proper start of a good request wants more, and `need` never says so for a whole one. */
static void each_start_of_a_request_wants_more(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        size_t whole = strlen(good[i]);
        for (size_t len = 0; len < whole; len++) {
            assert_int_equal(parse(good[i], len), RESP_MORE);
            assert_true(request.need > len);
            assert_true(request.need <= whole);
        }
        assert_int_equal(parse(good[i], whole), RESP_REQUEST);
        assert_int_equal(request.used, whole);
    }
}

/* Whatever a byte is changed to: an answer, and nothing that points outside of the input. */
static void any_changed_byte_gets_an_answer(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        size_t len = strlen(good[i]);
        char *text = malloc(len);
        assert_non_null(text);
        for (size_t at = 0; at < len; at++) {
            for (int value = 0; value < 256; value++) {
                memcpy(text, good[i], len);
                text[at] = (char)value;
                enum resp_result result = resp_parse(text, len, &request);
                if (result != RESP_REQUEST) {
                    assert_true(result == RESP_ERROR || (result == RESP_MORE && request.need > len));
                    continue;
                }
                assert_true(request.used > 0 && request.used <= len);
                for (size_t arg = 0; arg < request.count; arg++) {
                    assert_true(request.args[arg].bytes >= text);
                    assert_true(request.args[arg].bytes + request.args[arg].len <= text + request.used);
                }
            }
        }
        free(text);
    }
}

struct number {
    struct table_node node;
    char key[16];
};

static size_t freed;

static void number_free(struct table_node *node)
{
    freed++;
    free(node);
}

static struct number *number_new(unsigned value)
{
    struct number *number = calloc(1, sizeof(*number));
    assert_non_null(number);
    number->node.key = number->key;
    number->node.key_len = (size_t)snprintf(number->key, sizeof(number->key), "%u", value);
    return number;
}

/* Grows while it is used: at every size each key is found, and none that was removed. */
static void a_table_finds_all_while_it_grows(void **state)
{
    (void)state;
    enum { COUNT = 5000 };
    struct table table;
    char key[16];
    table_init(&table, 1, 2);
    assert_null(table_find(&table, "0", 1));
    for (unsigned i = 0; i < COUNT; i++) {
        assert_int_equal(table_insert(&table, &number_new(i)->node), 0);
        /* Every third goes again, some turns later. */
        if (i >= 99 && i % 3 == 0) {
            int len = snprintf(key, sizeof(key), "%u", i - 99);
            struct table_node *node = table_find(&table, key, (size_t)len);
            assert_non_null(node);
            table_remove(&table, node);
            free(node);
            assert_null(table_find(&table, key, (size_t)len));
        }
        if (i % 97 != 0)
            continue;
        for (unsigned j = 0; j <= i; j++) {
            int len = snprintf(key, sizeof(key), "%u", j);
            bool removed = i >= 99 && j % 3 == 0 && j + 99 <= i;
            struct table_node *node = table_find(&table, key, (size_t)len);
            assert_true(removed ? node == NULL : node != NULL);
        }
    }
    size_t left = table.count;
    freed = 0;
    table_deinit(&table, number_free);
    assert_int_equal(freed, left);
}

static void a_reply_over_its_limit_fails_as_a_whole(void **state)
{
    (void)state;
    struct reply reply = {.max = 20};
    reply_bulk(&reply, "0123456789", 10);
    assert_false(reply.failed);
    assert_int_equal(reply.len, 17);
    assert_memory_equal(reply.bytes, "$10\r\n0123456789\r\n", 17);
    reply_int(&reply, 7);
    assert_true(reply.failed);
    reply_reset(&reply);
    reply_error(&reply, "ERR a\r\nb");
    assert_int_equal(reply.len, 11);
    assert_memory_equal(reply.bytes, "-ERR a  b\r\n", 11);
    reply_deinit(&reply);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_an_array),
        cmocka_unit_test(reads_a_line),
        cmocka_unit_test(empty_requests_want_no_answer),
        cmocka_unit_test(errors_have_the_words_of_redis),
        cmocka_unit_test(large_requests_are_refused_early),
        cmocka_unit_test(too_many_words_are_refused),
        cmocka_unit_test(each_start_of_a_request_wants_more),
        cmocka_unit_test(any_changed_byte_gets_an_answer),
        cmocka_unit_test(a_table_finds_all_while_it_grows),
        cmocka_unit_test(a_reply_over_its_limit_fails_as_a_whole),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    parse(NULL, 0);
    return failed;
}
