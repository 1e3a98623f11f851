# SPDX-License-Identifier: Apache-2.0
#
# What is installed: headers, both libraries, the CMake package and the pkg-config file. Both find their own prefix
# from where they lie, so that the installed tree can be moved.
include(CMakePackageConfigHelpers)

install(DIRECTORY "${PROJECT_SOURCE_DIR}/include/" DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")
set(installed ioreactor ioreactor_static ioreactor_shared)
if(IOR_BUILD_SIM)
    list(APPEND installed ioreactor_sim ioreactor_sim_static ioreactor_sim_shared)
endif()
install(TARGETS ${installed} EXPORT ioreactorTargets
    ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
    LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})

set(package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/ioreactor")
install(EXPORT ioreactorTargets NAMESPACE ioreactor:: DESTINATION "${package_dir}")
configure_package_config_file("${CMAKE_CURRENT_LIST_DIR}/ioreactorConfig.cmake.in"
    "${PROJECT_BINARY_DIR}/ioreactorConfig.cmake" INSTALL_DESTINATION "${package_dir}"
    NO_SET_AND_CHECK_MACRO)
# Before 1.0 a new minor version may change the interface.
write_basic_package_version_file("${PROJECT_BINARY_DIR}/ioreactorConfigVersion.cmake" COMPATIBILITY SameMinorVersion)
install(FILES "${PROJECT_BINARY_DIR}/ioreactorConfig.cmake" "${PROJECT_BINARY_DIR}/ioreactorConfigVersion.cmake"
    DESTINATION "${package_dir}")

set(pc_dir "${CMAKE_INSTALL_LIBDIR}/pkgconfig")
if(IS_ABSOLUTE "${pc_dir}")
    set(pc_prefix "${CMAKE_INSTALL_PREFIX}")
    set(pc_libdir "${CMAKE_INSTALL_LIBDIR}")
else()
    file(RELATIVE_PATH pc_up "/${pc_dir}" "/")
    string(REGEX REPLACE "/$" "" pc_up "${pc_up}")
    set(pc_prefix "\${pcfiledir}/${pc_up}")
    set(pc_libdir "\${prefix}/${CMAKE_INSTALL_LIBDIR}")
endif()
if(IS_ABSOLUTE "${CMAKE_INSTALL_INCLUDEDIR}")
    set(pc_includedir "${CMAKE_INSTALL_INCLUDEDIR}")
else()
    set(pc_includedir "\${prefix}/${CMAKE_INSTALL_INCLUDEDIR}")
endif()
set(pc_files ioreactor)
if(IOR_BUILD_SIM)
    list(APPEND pc_files ioreactor-sim)
endif()
foreach(pc ${pc_files})
    configure_file("${CMAKE_CURRENT_LIST_DIR}/${pc}.pc.in" "${PROJECT_BINARY_DIR}/${pc}.pc" @ONLY)
    install(FILES "${PROJECT_BINARY_DIR}/${pc}.pc" DESTINATION "${pc_dir}")
endforeach()
