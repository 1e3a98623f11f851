/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The binary interface: sizes, offsets and values that programs have compiled in. They are compared with the committed
 * list tests/abi_x86_64.txt, in the same order. A difference means that programs built before must be built anew: where
 * that is meant, run this test's program with --write and commit the list with the change.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <ioreactor.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct fact {
    const char *name;
    uint64_t a, b; /* size and alignment, or offset and size, or a value and 0 */
};

/* clang-format off */
#define SIZE(type) {"struct " #type, sizeof(struct type), _Alignof(struct type)}
#define MEMBER(type, member) {"  " #type "." #member, offsetof(struct type, member), sizeof(((struct type *)0)->member)}
#define VALUE(constant) {#constant, (uint64_t)(constant), 0}

static const struct fact facts[] = {
    SIZE(ior_addr),
    MEMBER(ior_addr, len),
    MEMBER(ior_addr, reserved),
    MEMBER(ior_addr, raw),
    MEMBER(ior_addr, align),
    SIZE(ior_event),
    MEMBER(ior_event, type),
    MEMBER(ior_event, id),
    MEMBER(ior_event, user),
    MEMBER(ior_event, data.bytes),
    MEMBER(ior_event, data.len),
    MEMBER(ior_event, peer),
    MEMBER(ior_event, ready),
    MEMBER(ior_event, custom.kind),
    MEMBER(ior_event, custom.ptr),
    MEMBER(ior_event, end.why),
    MEMBER(ior_event, end.error),
    MEMBER(ior_event, end.deadline),
    MEMBER(ior_event, end.written),
    MEMBER(ior_event, end.unsent),
    MEMBER(ior_event, end.unread),
    SIZE(ior_handler),
    MEMBER(ior_handler, struct_size),
    MEMBER(ior_handler, reserved),
    MEMBER(ior_handler, start),
    MEMBER(ior_handler, stop),
    MEMBER(ior_handler, tick),
    MEMBER(ior_handler, timer),
    MEMBER(ior_handler, command),
    MEMBER(ior_handler, registered),
    MEMBER(ior_handler, listener),
    MEMBER(ior_handler, transport),
    MEMBER(ior_handler, error),
    MEMBER(ior_handler, handover_listener),
    MEMBER(ior_handler, handover_transport),
    SIZE(ior_stream_options),
    MEMBER(ior_stream_options, struct_size),
    MEMBER(ior_stream_options, half_open),
    MEMBER(ior_stream_options, read_when_full),
    MEMBER(ior_stream_options, nagle),
    MEMBER(ior_stream_options, keep_alive),
    MEMBER(ior_stream_options, user),
    MEMBER(ior_stream_options, user_size),
    MEMBER(ior_stream_options, high_bytes),
    MEMBER(ior_stream_options, low_bytes),
    MEMBER(ior_stream_options, cap_bytes),
    MEMBER(ior_stream_options, unread_max_bytes),
    MEMBER(ior_stream_options, connect_ns),
    MEMBER(ior_stream_options, idle_ns),
    MEMBER(ior_stream_options, drain_ns),
    SIZE(ior_listen_options),
    MEMBER(ior_listen_options, struct_size),
    MEMBER(ior_listen_options, backlog),
    MEMBER(ior_listen_options, unix_mode),
    MEMBER(ior_listen_options, reuse_port),
    MEMBER(ior_listen_options, v6_only),
    MEMBER(ior_listen_options, user),
    MEMBER(ior_listen_options, stream),
    SIZE(ior_resource_ops),
    MEMBER(ior_resource_ops, struct_size),
    MEMBER(ior_resource_ops, listener),
    MEMBER(ior_resource_ops, name),
    MEMBER(ior_resource_ops, interests),
    MEMBER(ior_resource_ops, handle_io),
    MEMBER(ior_resource_ops, write),
    MEMBER(ior_resource_ops, destroy),
    SIZE(ior_resource),
    MEMBER(ior_resource, ops),
    MEMBER(ior_resource, user),
    MEMBER(ior_resource, fd),
    MEMBER(ior_resource, bits),
    MEMBER(ior_resource, id),
    MEMBER(ior_resource, cx),
    MEMBER(ior_resource, next_work),
    MEMBER(ior_resource, next_ready),
    MEMBER(ior_resource, output),
    MEMBER(ior_resource, deadlines),
    MEMBER(ior_resource, written),
    MEMBER(ior_resource, error),
    MEMBER(ior_resource, why),
    MEMBER(ior_resource, which),
    MEMBER(ior_resource, applied),
    MEMBER(ior_resource, pending),
    MEMBER(ior_resource, share),
    SIZE(ior_config),
    MEMBER(ior_config, struct_size),
    MEMBER(ior_config, reserved),
    MEMBER(ior_config, engine),
    MEMBER(ior_config, engine_ops),
    MEMBER(ior_config, engine_arg),
    MEMBER(ior_config, os),
    MEMBER(ior_config, max_resources),
    MEMBER(ior_config, max_timers),
    MEMBER(ior_config, read_bytes),
    MEMBER(ior_config, records),
    MEMBER(ior_config, accepts),
    MEMBER(ior_config, reads),
    MEMBER(ior_config, commands),
    MEMBER(ior_config, timers),
    MEMBER(ior_config, reserved2),
    MEMBER(ior_config, output_cap_bytes),
    MEMBER(ior_config, thread_name),
    MEMBER(ior_config, thread_attr),
    MEMBER(ior_config, job_threads),
    MEMBER(ior_config, job_queue),
    SIZE(ior_stats),
    MEMBER(ior_stats, struct_size),
    MEMBER(ior_stats, resources),
    MEMBER(ior_stats, turns),
    MEMBER(ior_stats, records),
    MEMBER(ior_stats, stale_records),
    MEMBER(ior_stats, rebuilds),
    MEMBER(ior_stats, wakes),
    MEMBER(ior_stats, commands),
    MEMBER(ior_stats, timers_fired),
    MEMBER(ior_stats, output_bytes),
    MEMBER(ior_stats, timers),
    MEMBER(ior_stats, jobs),
    MEMBER(ior_stats, job_threads),
    SIZE(ior_command),
    MEMBER(ior_command, kind),
    MEMBER(ior_command, status),
    MEMBER(ior_command, is_reply),
    MEMBER(ior_command, reply_to),
    MEMBER(ior_command, drop),
    MEMBER(ior_command, priv),
    SIZE(ior_job),
    MEMBER(ior_job, work),
    MEMBER(ior_job, drop),
    MEMBER(ior_job, user),
    MEMBER(ior_job, status),
    MEMBER(ior_job, bits),
    MEMBER(ior_job, id),
    MEMBER(ior_job, cx),
    MEMBER(ior_job, next),
    MEMBER(ior_job, previous),
    MEMBER(ior_job, command),
    MEMBER(ior_job, state),
    MEMBER(ior_job, cancelled),
    MEMBER(ior_job, lane),
    MEMBER(ior_job, reserved),
    SIZE(ior_os_path),
    MEMBER(ior_os_path, is_socket),
    MEMBER(ior_os_path, dev),
    MEMBER(ior_os_path, ino),
    SIZE(ior_os),
    MEMBER(ior_os, struct_size),
    MEMBER(ior_os, reserved),
    MEMBER(ior_os, arg),
    MEMBER(ior_os, clock),
    MEMBER(ior_os, wall),
    MEMBER(ior_os, random),
    MEMBER(ior_os, sleep),
    MEMBER(ior_os, socket),
    MEMBER(ior_os, bind),
    MEMBER(ior_os, listen),
    MEMBER(ior_os, accept),
    MEMBER(ior_os, connect),
    MEMBER(ior_os, getsockname),
    MEMBER(ior_os, getpeername),
    MEMBER(ior_os, getsockopt),
    MEMBER(ior_os, setsockopt),
    MEMBER(ior_os, shutdown),
    MEMBER(ior_os, close),
    MEMBER(ior_os, recv),
    MEMBER(ior_os, send),
    MEMBER(ior_os, read),
    MEMBER(ior_os, write),
    MEMBER(ior_os, sendfile),
    MEMBER(ior_os, pread),
    MEMBER(ior_os, dup),
    MEMBER(ior_os, fd_kind),
    MEMBER(ior_os, set_nonblock),
    MEMBER(ior_os, path_stat),
    MEMBER(ior_os, path_chmod),
    MEMBER(ior_os, path_unlink),
    MEMBER(ior_os, blocking),
    SIZE(ior_os_blocking),
    MEMBER(ior_os_blocking, struct_size),
    MEMBER(ior_os_blocking, reserved),
    MEMBER(ior_os_blocking, thread),
    SIZE(ior_record),
    MEMBER(ior_record, id),
    MEMBER(ior_record, what),
    MEMBER(ior_record, reserved),
    SIZE(ior_engine_config),
    MEMBER(ior_engine_config, os),
    MEMBER(ior_engine_config, max_records),
    MEMBER(ior_engine_config, arg),
    SIZE(ior_engine_ops),
    MEMBER(ior_engine_ops, struct_size),
    MEMBER(ior_engine_ops, features),
    MEMBER(ior_engine_ops, name),
    MEMBER(ior_engine_ops, open),
    MEMBER(ior_engine_ops, close),
    MEMBER(ior_engine_ops, watch),
    MEMBER(ior_engine_ops, rewatch),
    MEMBER(ior_engine_ops, unwatch),
    MEMBER(ior_engine_ops, wait),
    MEMBER(ior_engine_ops, wake),
    MEMBER(ior_engine_ops, rebuild),
    MEMBER(ior_engine_ops, fd),
    MEMBER(ior_engine_ops, recv),
    MEMBER(ior_engine_ops, accept),
    MEMBER(ior_engine_ops, send),
    MEMBER(ior_engine_ops, sent),
    MEMBER(ior_engine_ops, flush),
    MEMBER(ior_engine_ops, stay),
    SIZE(ior_uring_options),
    MEMBER(ior_uring_options, struct_size),
    MEMBER(ior_uring_options, flags),
    MEMBER(ior_uring_options, entries),
    MEMBER(ior_uring_options, completions),
    MEMBER(ior_uring_options, buffers),
    MEMBER(ior_uring_options, buffer_bytes),
    MEMBER(ior_uring_options, held_bytes),
    MEMBER(ior_uring_options, reserved),
    VALUE(IOR_READ),
    VALUE(IOR_WRITE),
    VALUE(IOR_HUP),
    VALUE(IOR_ERR),
    VALUE(IOR_BAD),
    VALUE(IOR_LOG_ERROR),
    VALUE(IOR_LOG_WARN),
    VALUE(IOR_LOG_INFO),
    VALUE(IOR_LOG_DEBUG),
    VALUE(IOR_LOG_TRACE),
    VALUE(IOR_EV_ACCEPTED),
    VALUE(IOR_EV_OPEN),
    VALUE(IOR_EV_DATA),
    VALUE(IOR_EV_EOF),
    VALUE(IOR_EV_DRAINED),
    VALUE(IOR_EV_READY),
    VALUE(IOR_EV_DEADLINE),
    VALUE(IOR_EV_CUSTOM),
    VALUE(IOR_EV_END),
    VALUE(IOR_EV_JOB),
    VALUE(IOR_ASKED),
    VALUE(IOR_EOF),
    VALUE(IOR_ERROR),
    VALUE(IOR_TIMEOUT),
    VALUE(IOR_SHUTDOWN),
    VALUE(IOR_DEADLINE_USER),
    VALUE(IOR_DEADLINE_IDLE),
    VALUE(IOR_DEADLINE_CONNECT),
    VALUE(IOR_DEADLINE_DRAIN),
    VALUE(IOR_LANE_FILES),
    VALUE(IOR_LANE_NAMES),
    VALUE(IOR_LANE_USER),
    VALUE(IOR_LANES),
    VALUE(IOR_IO_DONE),
    VALUE(IOR_IO_MORE),
    VALUE(IOR_FD_TCP),
    VALUE(IOR_FD_UNIX),
    VALUE(IOR_FD_LISTENER),
    VALUE(IOR_FD_SOCKET),
    VALUE(IOR_FD_PIPE),
    VALUE(IOR_FD_FILE),
    VALUE(IOR_FD_OTHER),
    VALUE(IOR_FD_KIND_MASK),
    VALUE(IOR_FD_NO_READ),
    VALUE(IOR_FD_NO_WRITE),
    VALUE(IOR_ENGINE_HAS_FD),
    VALUE(IOR_ENGINE_DOES_IO),
    VALUE(IOR_RECEIVES),
    VALUE(IOR_ACCEPTS),
    VALUE(IOR_URING_WHOLE_BUFFERS),
};
/* clang-format on */

static void format(char *line, size_t size, const struct fact *fact)
{
    snprintf(line, size, "%s %" PRIu64 " %" PRIu64 "\n", fact->name, fact->a, fact->b);
}

static FILE *open_list(const char *mode)
{
    const char *source = getenv("IOR_SOURCE_DIR");
    char path[4096];

    snprintf(path, sizeof(path), "%s/tests/abi_x86_64.txt", source ? source : ".");
    return fopen(path, mode);
}

static void test_layout_is_as_committed(void **state)
{
    FILE *list = open_list("r");
    char expected[256], actual[256];
    int different = 0;

    (void)state;
    assert_non_null(list);
    for (size_t i = 0; i < sizeof(facts) / sizeof(facts[0]); i++) {
        format(actual, sizeof(actual), &facts[i]);
        if (!fgets(expected, sizeof(expected), list))
            expected[0] = '\0';
        if (strcmp(actual, expected) != 0) {
            print_error("committed: %snow:       %s", expected[0] ? expected : "(nothing)\n", actual);
            different++;
        }
    }
    assert_null(fgets(expected, sizeof(expected), list));
    fclose(list);
    assert_int_equal(different, 0);
}

static int write_list(void)
{
    FILE *list = open_list("w");
    char line[256];

    if (!list)
        return 1;
    for (size_t i = 0; i < sizeof(facts) / sizeof(facts[0]); i++) {
        format(line, sizeof(line), &facts[i]);
        fputs(line, list);
    }
    return fclose(list) ? 1 : 0;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_layout_is_as_committed)};

#if !defined(__x86_64__) || !defined(__LP64__)
    puts("skipped: the committed list is that of 64-bit x86");
    return 77;
#endif
    if (argc > 1 && strcmp(argv[1], "--write") == 0)
        return write_list();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
