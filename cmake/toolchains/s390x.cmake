# SPDX-License-Identifier: Apache-2.0
#
# IBM Z: the last big-endian machine that Debian builds for.
set(CMAKE_SYSTEM_PROCESSOR s390x)
set(IOR_TRIPLE s390x-linux-gnu)
set(IOR_QEMU qemu-s390x)
include("${CMAKE_CURRENT_LIST_DIR}/debian.cmake")
