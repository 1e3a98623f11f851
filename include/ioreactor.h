/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ioreactor: concurrent I/O with the reactor pattern.
 *
 * One thread waits on any number of resources (anything with an fd) and hands what happens to services: plain C
 * callbacks over plain C state. The headers below are in reading order; each explains one noun.
 *
 * Conventions that hold everywhere:
 *  - A request answers 0 or a count, else a negative errno value; on failure nothing has changed and outputs are
 *    untouched. Events carry errno values as positive numbers.
 *  - Times are monotonic nanoseconds in uint64_t. IOR_NEVER means "no deadline".
 *  - A request never calls back: every callback comes from the loop, one at a time, on the loop's thread.
 *  - Requests belong to the loop's thread (before the first turn: to the thread that made the runtime); from any
 *    other thread they answer -EPERM. What other threads may call is said at the call.
 *  - Requests, and what makes things, answer -EINVAL for a NULL that has no meaning. Functions that only look (ior_now,
 *    ior_buf_len ...) or count references have no way to say so: they take no NULL but where their comment allows it.
 *  - A struct that users fill begins with `struct_size`; set it to sizeof(the struct) and leave what you do not use zero.
 */
#ifndef IOREACTOR_H
#define IOREACTOR_H

#include <ioreactor/version.h>
#include <ioreactor/base.h>
#include <ioreactor/time.h>
#include <ioreactor/addr.h>
#include <ioreactor/buf.h>
#include <ioreactor/event.h>
#include <ioreactor/handler.h>
#include <ioreactor/request.h>
#include <ioreactor/datagram.h>
#include <ioreactor/signal.h>
#include <ioreactor/child.h>
#include <ioreactor/name.h>
#include <ioreactor/dial.h>
#include <ioreactor/resource.h>
#include <ioreactor/runtime.h>
#include <ioreactor/controller.h>
#include <ioreactor/job.h>
#include <ioreactor/file.h>
#include <ioreactor/reactor.h>
#include <ioreactor/os.h>
#include <ioreactor/engine.h>
#include <ioreactor/fds.h>
#include <ioreactor/changes.h>
#include <ioreactor/serial.h>
#include <ioreactor/uring.h>

#endif
