/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Terminals and serial devices as streams: raw mode, speed, framing, and everything as it was before when the stream
 * ends. What comes of these calls is a stream like any other (<ioreactor/request.h>), whose errors are the common ones.
 *
 * The settings that were found are put back before END is told, whatever the way it ended: close, unregister, abort,
 * shutdown, ior_runtime_free. (A process that is killed, or exits without that, leaves the terminal as it is.) Registered
 * again after a handover, the stream puts its own settings in force again. A hang-up of the line (the modem's, a pulled
 * USB adapter, the last close of a pseudo-terminal's other side) is told as EOF and END (IOR_EOF), or as END with EIO
 * where output could not be written any more.
 */
#ifndef IOREACTOR_SERIAL_H
#define IOREACTOR_SERIAL_H

#include <ioreactor/request.h>

#ifdef __cplusplus
extern "C" {
#endif

enum ior_parity {
    IOR_PARITY_DEFAULT = 0, /* none; with `cooked` as it is */
    IOR_PARITY_NONE = 1,
    IOR_PARITY_EVEN = 2,
    IOR_PARITY_ODD = 3,
    IOR_PARITY_MARK = 4,  /* Linux */
    IOR_PARITY_SPACE = 5, /* Linux */
};

enum ior_flow {
    IOR_FLOW_DEFAULT = 0, /* none; with `cooked` as it is */
    IOR_FLOW_NONE = 1,
    IOR_FLOW_RTS_CTS = 2,  /* by the lines of the device */
    IOR_FLOW_XON_XOFF = 3, /* by the bytes 17 and 19, which are no data then */
};

/* Zero means the default for every member; NULL for the whole struct means all defaults: raw, 8 bits, no parity. */
struct ior_serial_options {
    uint32_t struct_size; /* sizeof(struct ior_serial_options) */
    uint32_t speed;       /* bits per second, any that the device can do; 0: as it is */
    unsigned data_bits;   /* 5 to 8; default 8, with `cooked` as it is */
    unsigned stop_bits;   /* 1 or 2; default 1, with `cooked` as it is */
    enum ior_parity parity;
    enum ior_flow flow;
    bool cooked;      /* leave line editing, echo, signals and translations as they are; default: raw, byte for byte */
    bool modem_lines; /* mind the modem's lines: the loss of the carrier is a hang-up; default: they are ignored */
    bool exclusive;   /* no other process can open it meanwhile (-EBUSY; root can) */
    struct ior_stream_options stream; /* struct_size 0: all defaults */
};

/*
 * Opens a serial device, or another terminal, by its path. It never becomes the controlling terminal, and opening does
 * not wait for a carrier. Errors: -ENOTTY (no terminal), -EINVAL (options that cannot be, or that the device did not
 * take: then it is as it was before), -EBUSY (somebody has it exclusively), -ENOENT, -EACCES, -ENXIO, -EMFILE ...,
 * -EOPNOTSUPP (a simulated world).
 */
IOR_API int ior_serial_open(struct ior_context *cx, const char *path, const struct ior_serial_options *opts,
                            ior_id *ret_id);

/*
 * The same with a terminal that is open already. On success the fd belongs to the library, as with ior_adopt; on failure
 * it stays the caller's, as it was. Whether it was non-blocking is put back with the settings, for the sake of others
 * that share the open file (a shell): to keep stdin, adopt a dup of it. Errors: as above, -EBADF, -EEXIST.
 */
IOR_API int ior_serial_adopt(struct ior_context *cx, int fd, const struct ior_serial_options *opts, ior_id *ret_id);

#ifdef __cplusplus
}
#endif
#endif
