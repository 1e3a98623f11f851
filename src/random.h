/* SPDX-License-Identifier: Apache-2.0 */
/* Random numbers from the system. */
#ifndef IOR_SRC_RANDOM_H
#define IOR_SRC_RANDOM_H

#include <stdint.h>

uint64_t ior__random64(void);

#endif
