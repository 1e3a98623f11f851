# SPDX-License-Identifier: Apache-2.0
#
# This machine's processor with another C library, musl, by the wrapper of Debian's package musl-tools. What it makes
# runs here as it is. The system's own libraries and headers are those of glibc, and are not to be found.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR "${CMAKE_HOST_SYSTEM_PROCESSOR}")
set(CMAKE_C_COMPILER musl-gcc)
set(CMAKE_FIND_ROOT_PATH "/usr/lib/${CMAKE_HOST_SYSTEM_PROCESSOR}-linux-musl")
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
