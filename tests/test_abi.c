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
    MEMBER(ior_event, fds),
    SIZE(ior_fds),
    MEMBER(ior_fds, count),
    MEMBER(ior_fds, lost),
    MEMBER(ior_event, change),
    SIZE(ior_change),
    MEMBER(ior_change, mask),
    MEMBER(ior_change, cookie),
    MEMBER(ior_change, watch),
    MEMBER(ior_change, name_len),
    MEMBER(ior_change, name),
    SIZE(ior_credentials),
    MEMBER(ior_credentials, pid),
    MEMBER(ior_credentials, uid),
    MEMBER(ior_credentials, gid),
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
    MEMBER(ior_stream_options, receive_fds),
    SIZE(ior_serial_options),
    MEMBER(ior_serial_options, struct_size),
    MEMBER(ior_serial_options, speed),
    MEMBER(ior_serial_options, data_bits),
    MEMBER(ior_serial_options, stop_bits),
    MEMBER(ior_serial_options, parity),
    MEMBER(ior_serial_options, flow),
    MEMBER(ior_serial_options, cooked),
    MEMBER(ior_serial_options, modem_lines),
    MEMBER(ior_serial_options, exclusive),
    MEMBER(ior_serial_options, stream),
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
    SIZE(ior_command),
    MEMBER(ior_command, kind),
    MEMBER(ior_command, status),
    MEMBER(ior_command, is_reply),
    MEMBER(ior_command, reply_to),
    MEMBER(ior_command, drop),
    MEMBER(ior_command, priv),
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
    MEMBER(ior_os, send_fds),
    MEMBER(ior_os, recv_fds),
    MEMBER(ior_os, changes_open),
    MEMBER(ior_os, changes_add),
    MEMBER(ior_os, changes_remove),
    MEMBER(ior_os, tty_open),
    MEMBER(ior_os, tty_get),
    MEMBER(ior_os, tty_set),
    MEMBER(ior_os, tty_ask),
    SIZE(ior_os_tty),
    MEMBER(ior_os_tty, space),
    SIZE(ior_os_fds),
    MEMBER(ior_os_fds, count),
    MEMBER(ior_os_fds, lost),
    MEMBER(ior_os_fds, fds),
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
    VALUE(IOR_ASKED),
    VALUE(IOR_EOF),
    VALUE(IOR_ERROR),
    VALUE(IOR_TIMEOUT),
    VALUE(IOR_SHUTDOWN),
    VALUE(IOR_DEADLINE_USER),
    VALUE(IOR_DEADLINE_IDLE),
    VALUE(IOR_DEADLINE_CONNECT),
    VALUE(IOR_DEADLINE_DRAIN),
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
