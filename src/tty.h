/* SPDX-License-Identifier: Apache-2.0 */
/* What is inside the settings of a terminal: they are looked at and changed in tty.c alone. */
#ifndef IOR_SRC_TTY_H
#define IOR_SRC_TTY_H

#include <ioreactor/os.h>
#include <ioreactor/serial.h>

/* Makes the settings what the options, which are valid, ask for. -EINVAL: this system has no such speed or parity. */
int ior__tty_configure(struct ior_os_tty *settings, const struct ior_serial_options *opts);

/* Whether the device took what was asked for: drivers drop silently what they cannot do. */
bool ior__tty_took(const struct ior_os_tty *now, const struct ior_os_tty *asked);

#endif
