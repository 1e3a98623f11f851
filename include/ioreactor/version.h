/* SPDX-License-Identifier: Apache-2.0 */
/* The version of the interface, and how its symbols are marked. */
#ifndef IOREACTOR_VERSION_H
#define IOREACTOR_VERSION_H

#define IOR_VERSION_MAJOR 0
#define IOR_VERSION_MINOR 1
#define IOR_VERSION_PATCH 0
#define IOR_VERSION_STRING "0.1.0"

#if defined(__GNUC__)
#define IOR_API __attribute__((visibility("default")))
#define IOR_MUST_CHECK __attribute__((warn_unused_result))
#else
#define IOR_API
#define IOR_MUST_CHECK
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* The version of the library that was linked, as "major.minor.patch". Any thread. */
IOR_API const char *ior_version(void);

#ifdef __cplusplus
}
#endif
#endif
