/* SPDX-License-Identifier: Apache-2.0 */
/* Memory through the hook, the log hook, versioned structs. */
#include "support/check.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util.h"

/* An allocator that checks the lengths it is told, and can be made to fail. */
struct ledger {
    size_t blocks;
    size_t bytes;
    bool fail;
};

/* The true length stands in front of each block. */
#define HEADER 16

static void *ledger_fn(void *arg, void *old, size_t old_len, size_t len)
{
    struct ledger *ledger = arg;
    unsigned char *block = old ? (unsigned char *)old - HEADER : NULL;

    if (old) {
        size_t known;

        memcpy(&known, block, sizeof(known));
        assert_int_equal(known, old_len);
    } else {
        assert_int_equal(old_len, 0);
        assert_true(len > 0);
    }
    if (len == 0) {
        ledger->blocks--;
        ledger->bytes -= old_len;
        free(block);
        return NULL;
    }
    if (ledger->fail)
        return NULL;
    block = realloc(block, HEADER + len);
    assert_non_null(block);
    memcpy(block, &len, sizeof(len));
    if (!old) {
        memset(block + HEADER, 0xee, len);
        ledger->blocks++;
    }
    ledger->bytes += len - old_len;
    return block + HEADER;
}

static void memory_goes_through_the_hook(void **state)
{
    struct ledger ledger = {0};

    (void)state;
    assert_int_equal(ior_set_alloc(ledger_fn, &ledger), 0);
    char *a = ior__alloc(10);
    char *b = ior__calloc(20);
    char *c = ior__realloc(NULL, 0, 30);
    assert_int_equal(ledger.blocks, 3);
    assert_int_equal(ledger.bytes, 60);
    for (int i = 0; i < 20; i++)
        assert_int_equal(b[i], 0);
    memcpy(c, "kept", 5);
    c = ior__realloc(c, 30, 3000);
    assert_string_equal(c, "kept");
    assert_int_equal(ledger.blocks, 3);
    ior__free(a, 10);
    ior__free(b, 20);
    ior__free(c, 3000);
    ior__free(NULL, 7);
    assert_int_equal(ledger.blocks, 0);
    assert_int_equal(ledger.bytes, 0);
    assert_int_equal(ior_set_alloc(NULL, NULL), 0);
}

static void a_block_of_no_bytes_is_no_free(void **state)
{
    struct ledger ledger = {0};

    (void)state;
    assert_int_equal(ior_set_alloc(ledger_fn, &ledger), 0);
    void *a = ior__alloc(0);
    void *b = ior__calloc(0);
    assert_non_null(a);
    assert_non_null(b);
    assert_int_equal(ledger.blocks, 2);
    a = ior__realloc(a, 0, 5);
    a = ior__realloc(a, 5, 0);
    assert_non_null(a);
    ior__free(a, 0);
    ior__free(b, 0);
    assert_int_equal(ledger.blocks, 0);
    assert_int_equal(ior_set_alloc(NULL, NULL), 0);
}

static void out_of_memory_changes_nothing(void **state)
{
    struct ledger ledger = {0};

    (void)state;
    assert_int_equal(ior_set_alloc(ledger_fn, &ledger), 0);
    char *a = ior__alloc(4);
    memcpy(a, "abc", 4);
    ledger.fail = true;
    assert_null(ior__alloc(1));
    assert_null(ior__calloc(1));
    assert_null(ior__realloc(NULL, 0, 1));
    assert_null(ior__realloc(a, 4, 100));
    assert_string_equal(a, "abc");
    ior__free(a, 4);
    assert_int_equal(ior_set_alloc(NULL, NULL), 0);
}

static void the_hook_stays_while_blocks_are_in_use(void **state)
{
    struct ledger ledger = {0};

    (void)state;
    void *a = ior__alloc(1);
    assert_int_equal(ior_set_alloc(ledger_fn, &ledger), -EBUSY);
    a = ior__realloc(a, 1, 1000);
    assert_int_equal(ior_set_alloc(ledger_fn, &ledger), -EBUSY);
    ior__free(a, 1000);
    assert_int_equal(ledger.blocks, 0);
    assert_int_equal(ior_set_alloc(ledger_fn, &ledger), 0);
    a = ior__alloc(1);
    assert_int_equal(ior_set_alloc(NULL, NULL), -EBUSY);
    ior__free(a, 1);
    assert_int_equal(ior_set_alloc(NULL, NULL), 0);
}

struct log_notes {
    int lines;
    int level;
    char last[1024];
};

static void note_line(void *arg, int level, const char *line)
{
    struct log_notes *notes = arg;

    notes->lines++;
    notes->level = level;
    snprintf(notes->last, sizeof(notes->last), "%s", line);
    errno = EBADMSG;
}

static int evaluated(int *count)
{
    return ++*count;
}

static void the_log_is_off_until_it_is_set(void **state)
{
    struct log_notes notes = {0};
    int count = 0;

    (void)state;
    ior__log(IOR_LOG_ERROR, "%d", evaluated(&count));
    assert_int_equal(count, 0);
    ior_set_log(note_line, &notes, IOR_LOG_WARN);
    errno = EXDEV;
    ior__log(IOR_LOG_WARN, "fd %d: %s", 7, "odd");
    assert_int_equal(errno, EXDEV);
    assert_string_equal(notes.last, "fd 7: odd");
    assert_int_equal(notes.level, IOR_LOG_WARN);
    ior__log(IOR_LOG_INFO, "%d", evaluated(&count));
    assert_int_equal(notes.lines, 1);
    assert_int_equal(count, 0);
    ior_set_log(note_line, &notes, IOR_LOG_NONE);
    ior__log(IOR_LOG_ERROR, "no");
    ior_set_log(NULL, &notes, IOR_LOG_TRACE);
    ior__log(IOR_LOG_ERROR, "no");
    assert_int_equal(notes.lines, 1);
}

static void a_long_log_line_is_cut_not_overrun(void **state)
{
    struct log_notes notes = {0};
    char name[2000];

    (void)state;
    memset(name, 'x', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    ior_set_log(note_line, &notes, IOR_LOG_TRACE);
    ior__log(IOR_LOG_TRACE, "%s", name);
    assert_int_equal(notes.lines, 1);
    assert_true(strlen(notes.last) > 100 && strlen(notes.last) < sizeof(name) - 1);
    ior_set_log(NULL, NULL, IOR_LOG_NONE);
}

struct versioned {
    uint32_t struct_size;
    uint32_t first;
    uint32_t second;
    uint32_t third; /* came with a later version */
};

#define FIRST_VERSION offsetof(struct versioned, third)

static void an_older_struct_is_filled_up_with_zeros(void **state)
{
    struct versioned in = {FIRST_VERSION, 1, 2, 3};
    struct versioned out;

    (void)state;
    memset(&out, 0xff, sizeof(out));
    assert_int_equal(ior__struct_in(&out, sizeof(out), &in, FIRST_VERSION), 0);
    assert_int_equal(out.struct_size, sizeof(out));
    assert_int_equal(out.first, 1);
    assert_int_equal(out.second, 2);
    assert_int_equal(out.third, 0);
}

static void a_newer_struct_must_not_ask_for_the_unknown(void **state)
{
    struct {
        struct versioned known;
        uint32_t unknown[2];
    } in = {{sizeof(in), 1, 2, 3}, {0, 0}};
    struct versioned out = {0};

    (void)state;
    assert_int_equal(ior__struct_in(&out, sizeof(out), &in, FIRST_VERSION), 0);
    assert_int_equal(out.third, 3);
    assert_int_equal(out.struct_size, sizeof(out));
    in.unknown[1] = 1;
    memset(&out, 0xff, sizeof(out));
    assert_int_equal(ior__struct_in(&out, sizeof(out), &in, FIRST_VERSION), -EINVAL);
    assert_int_equal(out.first, UINT32_MAX);
}

static void a_struct_of_a_senseless_size_is_refused(void **state)
{
    struct versioned in = {0, 1, 2, 3};
    struct versioned out = {9, 9, 9, 9};
    const uint32_t sizes[] = {0, 1, FIRST_VERSION - 1, 1u << 20, UINT32_MAX};

    (void)state;
    for (size_t i = 0; i < IOR_COUNT_OF(sizes); i++) {
        in.struct_size = sizes[i];
        assert_int_equal(ior__struct_in(&out, sizeof(out), &in, FIRST_VERSION), -EINVAL);
        assert_int_equal(out.first, 9);
    }
}

static void no_struct_means_all_defaults(void **state)
{
    struct versioned out = {9, 9, 9, 9};

    (void)state;
    assert_int_equal(ior__struct_in(&out, sizeof(out), NULL, FIRST_VERSION), 0);
    assert_int_equal(out.struct_size, sizeof(out));
    assert_int_equal(out.first | out.second | out.third, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_goes_through_the_hook),
        cmocka_unit_test(a_block_of_no_bytes_is_no_free),
        cmocka_unit_test(out_of_memory_changes_nothing),
        cmocka_unit_test(the_hook_stays_while_blocks_are_in_use),
        cmocka_unit_test(the_log_is_off_until_it_is_set),
        cmocka_unit_test(a_long_log_line_is_cut_not_overrun),
        cmocka_unit_test(an_older_struct_is_filled_up_with_zeros),
        cmocka_unit_test(a_newer_struct_must_not_ask_for_the_unknown),
        cmocka_unit_test(a_struct_of_a_senseless_size_is_refused),
        cmocka_unit_test(no_struct_means_all_defaults),
    };

    return cmocka_run_group_tests_name("util", tests, NULL, NULL);
}
