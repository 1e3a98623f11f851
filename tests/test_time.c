/* SPDX-License-Identifier: Apache-2.0 */
/* Time as numbers: sums that never wrap, conversions, and the two clocks a service can read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <ioreactor.h>

static void sums_saturate(void **state)
{
    (void)state;
    assert_int_equal(ior_time_add(2, 3), 5);
    assert_int_equal(ior_time_add(IOR_NEVER - 1, 1), IOR_NEVER);
    assert_int_equal(ior_time_add(IOR_NEVER - 1, 2), IOR_NEVER);
    assert_int_equal(ior_time_add(IOR_NEVER, IOR_NEVER), IOR_NEVER);
    assert_int_equal(ior_time_sub(5, 3), 2);
    assert_int_equal(ior_time_sub(3, 3), 0);
    assert_int_equal(ior_time_sub(3, 5), 0);
}

static void conversions_saturate_and_round_down(void **state)
{
    (void)state;
    assert_int_equal(ior_time_from_ms(7), 7 * IOR_NS_PER_MS);
    assert_int_equal(ior_time_from_secs(7), 7 * IOR_NS_PER_SEC);
    assert_int_equal(ior_time_from_ms(IOR_NEVER / IOR_NS_PER_MS), IOR_NEVER / IOR_NS_PER_MS * IOR_NS_PER_MS);
    assert_int_equal(ior_time_from_ms(IOR_NEVER / IOR_NS_PER_MS + 1), IOR_NEVER);
    assert_int_equal(ior_time_from_secs(IOR_NEVER / IOR_NS_PER_SEC + 1), IOR_NEVER);
    assert_int_equal(ior_time_from_secs(IOR_NEVER), IOR_NEVER);
    assert_int_equal(ior_time_to_ms(2 * IOR_NS_PER_MS - 1), 1);
    assert_int_equal(ior_time_to_secs(2 * IOR_NS_PER_SEC - 1), 1);
    assert_int_equal(ior_time_to_secs(2 * IOR_NS_PER_SEC), 2);
}

/* The monotonic clock does not go back; the wall clock is one that a calendar can use (later than the year 2020). */
static void both_clocks_can_be_read(void **state)
{
    const struct ior_handler handler = {.struct_size = sizeof(handler)};
    struct ior_runtime *rt;
    (void)state;
    assert_int_equal(ior_runtime_new(NULL, &handler, NULL, &rt), 0);
    struct ior_context *cx = ior_runtime_context(rt);
    uint64_t before_ns = ior_now(cx);
    assert_true(before_ns > 0);
    assert_true(ior_now(cx) >= before_ns);
    assert_true(ior_time_to_secs(ior_unix_ns(cx)) > 1577836800);
    ior_runtime_free(rt);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_saturate),
        cmocka_unit_test(conversions_saturate_and_round_down),
        cmocka_unit_test(both_clocks_can_be_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
