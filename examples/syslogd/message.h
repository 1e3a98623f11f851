/* SPDX-License-Identifier: Apache-2.0 */
/* Messages of syslog, as they come in datagrams, and as lines of text. */
#ifndef EXAMPLES_SYSLOGD_MESSAGE_H
#define EXAMPLES_SYSLOGD_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>

#define MESSAGE_MAX_BYTES 8192 /* longer ones are cut */

/* Room for the line of any message: each byte may become four, and there are names around it. */
#define MESSAGE_LINE_MAX (4 * MESSAGE_MAX_BYTES + 1024)

/*
 * Writes one line, with its newline, and answers its length:
 *
 *     TIME HOST FACILITY.SEVERITY TEXT
 *
 * The message is one of RFC 5424 or of RFC 3164 (also without a host, as programs send it to /dev/log); what is neither is
 * text of user.notice. What a message does not say is `host` and "-". Bytes that cannot be printed become \xNN.
 */
size_t message_line(const char *bytes, size_t len, const char *host, bool is_cut, char *line);

#endif
