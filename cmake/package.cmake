# cpack -G DEB (in the build folder): one Debian package with the command, both libraries, headers and what find_package and pkg-config need.
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_CONTACT "The llmc authors <llmc@localhost>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "Compresses large language models in one shot")
set(CPACK_RESOURCE_FILE_LICENSE ${PROJECT_SOURCE_DIR}/LICENSE)
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)  # needs dpkg-dev
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS ON)
set(CPACK_DEBIAN_PACKAGE_SUGGESTS "libfmt-dev, libyaml-cpp-dev, libhwy-dev, libpcre2-dev")  # for libllmc.a
include(CPack)
