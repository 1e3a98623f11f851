/* SPDX-License-Identifier: Apache-2.0 */
/* Shared buffers by themselves: text that needs no release, no memory, and the last reference. */
#include "support/check.h"
#include "support/live.h"

#include <ioreactor.h>

static unsigned released;

static void count(void *arg)
{
    released += arg == &released;
}

static void the_last_reference_releases(void **state)
{
    char bytes[] = "text";
    struct ior_buf *buf = ior_buf_wrap(bytes, sizeof(bytes), count, &released);
    (void)state;
    assert_ptr_equal(ior_buf_ref(buf), buf);
    ior_buf_unref(buf);
    assert_int_equal(released, 0);
    ior_buf_unref(buf);
    assert_int_equal(released, 1);
    ior_buf_unref(NULL);
}

static void static_text_needs_no_release(void **state)
{
    static char text[] = "text";
    (void)state;
    live_alloc_start();
    ior_buf_unref(ior_buf_wrap(text, sizeof(text), NULL, NULL));
    live_alloc_stop();
}

static void without_memory_there_is_no_buffer_and_nothing_is_released(void **state)
{
    char bytes[] = "text";
    (void)state;
    live_alloc_start();
    live_alloc_fail(1, true);
    released = 0;
    assert_null(ior_buf_wrap(bytes, sizeof(bytes), count, &released));
    assert_null(ior_buf_copy(bytes, sizeof(bytes)));
    assert_int_equal(released, 0);
    live_alloc_stop();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_last_reference_releases),
        cmocka_unit_test(static_text_needs_no_release),
        cmocka_unit_test(without_memory_there_is_no_buffer_and_nothing_is_released),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
