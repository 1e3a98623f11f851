/* SPDX-License-Identifier: Apache-2.0 */
/* Builds one reply of RESP2 in a buffer that is used again and again. */
#ifndef KV_REPLY_H
#define KV_REPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct reply {
    char *bytes;
    size_t len;
    size_t room;
    size_t max;  /* a reply may not be longer */
    bool failed; /* it would be, or memory ran out: `bytes` is no whole reply */
};

void reply_reset(struct reply *reply);
void reply_deinit(struct reply *reply);

void reply_raw(struct reply *reply, const char *bytes, size_t len);
void reply_status(struct reply *reply, const char *text);                                             /* +text */
void reply_error(struct reply *reply, const char *format, ...) __attribute__((format(printf, 2, 3))); /* -text */
void reply_int(struct reply *reply, int64_t number);                                                  /* :number */
void reply_bulk(struct reply *reply, const char *bytes, size_t len);
void reply_nil(struct reply *reply);
void reply_array(struct reply *reply, size_t count); /* `count` replies follow as its elements */

#endif
