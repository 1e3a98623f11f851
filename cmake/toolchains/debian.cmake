# SPDX-License-Identifier: Apache-2.0
#
# What the toolchains of other processors share: the compilers of Debian's packages gcc-TRIPLE, and qemu-user to run
# what they make. A toolchain file sets CMAKE_SYSTEM_PROCESSOR, IOR_TRIPLE and IOR_QEMU, and includes this one.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_C_COMPILER "${IOR_TRIPLE}-gcc")
set(CMAKE_CROSSCOMPILING_EMULATOR "${IOR_QEMU};-L;/usr/${IOR_TRIPLE}")

# Programs are the build machine's; libraries and headers are never.
set(CMAKE_FIND_ROOT_PATH "/usr/${IOR_TRIPLE}")
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
