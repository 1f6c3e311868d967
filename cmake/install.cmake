# cmake --install: the command, the shared and the static library with their headers, and what find_package(llmc) and pkg-config need. The C++ core stays here.
include(CMakePackageConfigHelpers)
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/llmc)

install(TARGETS llmc EXPORT llmc-targets LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
if(TARGET llmc_archive)
  install(FILES ${llmc_archive} DESTINATION ${CMAKE_INSTALL_LIBDIR})
endif()
install(TARGETS llmc_cli RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(FILES capi/llmc.h capi/llmc_model.h capi/llmc_tensor.h capi/llmc_dlpack.h capi/llmc_tools.h capi/llmc.hpp capi/llmc_model.hpp capi/llmc_tensor.hpp capi/llmc_writer.hpp DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(FILES LICENSE THIRD_PARTY.md DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/llmc)

install(EXPORT llmc-targets NAMESPACE llmc:: DESTINATION ${package_dir})
configure_package_config_file(cmake/llmc-config.cmake.in ${PROJECT_BINARY_DIR}/llmc-config.cmake INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/llmc-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/llmc-config.cmake ${PROJECT_BINARY_DIR}/llmc-config-version.cmake DESTINATION ${package_dir})

# Relative to the .pc file, so that the tree can be moved.
string(REGEX REPLACE "[^/]+" ".." prefix_from_pc ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
list(TRANSFORM llmc_static_dependencies PREPEND "-l" OUTPUT_VARIABLE libs_private)
list(JOIN libs_private " " libs_private)
configure_file(cmake/llmc.pc.in ${PROJECT_BINARY_DIR}/llmc.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/llmc.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
