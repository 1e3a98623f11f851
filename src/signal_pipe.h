/* SPDX-License-Identifier: Apache-2.0 */
/* Signals by handlers, where the system has no signalfd(2): signal_pipe.c. Members of struct ior_os_processes. */
#ifndef IOR_SRC_SIGNAL_PIPE_H
#define IOR_SRC_SIGNAL_PIPE_H

#include <ioreactor/os.h>

/* How many real-time signals of one number wait for the loop; of a standard signal one does. */
#define IOR__SIGNALS_WAITING 1024u

int ior__signal_pipe_open(void *arg, const int *numbers, size_t count, struct ior_os_signals *ret);
int ior__signal_pipe_read(void *arg, struct ior_os_signals *signals, struct ior_signal *ret);
void ior__signal_pipe_take(void *arg, struct ior_os_signals *signals, bool on);
void ior__signal_pipe_close(void *arg, struct ior_os_signals *signals);

#endif
