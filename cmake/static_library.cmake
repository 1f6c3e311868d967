# libllmc.a: everything llmc is made of in one object whose only global names are those of llmc.map, so that it meets no other C++ or Rust code by name.
# It links with the small libraries that libllmc.so needs too.
set(llmc_static_dependencies fmt yaml-cpp hwy pcre2-8 stdc++ m pthread dl)
if(LLMC_SANITIZE OR NOT CMAKE_OBJCOPY)
  return()
endif()

set(llmc_archive ${PROJECT_BINARY_DIR}/libllmc.a)
set(work ${PROJECT_BINARY_DIR}/static)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS capi/llmc.map)
file(STRINGS capi/llmc.map public_names REGEX "^ +llmc_[a-z0-9_]+;")
list(TRANSFORM public_names REPLACE "[ ;]" "")
list(JOIN public_names "\n" names_text)
file(WRITE ${work}/public_names "${names_text}\n")
list(TRANSFORM public_names PREPEND "--undefined=" OUTPUT_VARIABLE roots)

set(parts $<TARGET_FILE:llmc_static> $<TARGET_FILE:llmc_core> $<TARGET_FILE:llmc_text>)
if(LLMC_TEXT)
  get_target_property(crate_library llmc_text CRATE_LIBRARY)
  list(APPEND parts ${crate_library})
endif()
add_custom_command(OUTPUT ${llmc_archive}
                   # What no public function reaches goes; groups of inline functions become plain sections, which alone may hold local names.
                   COMMAND ${CMAKE_LINKER} -r --gc-sections --force-group-allocation ${roots} -o ${work}/all.o --start-group ${parts} --end-group
                   COMMAND ${CMAKE_OBJCOPY} --keep-global-symbols=${work}/public_names --strip-debug -R .llvmbc -R .llvmcmd ${work}/all.o ${work}/llmc.o
                   COMMAND ${CMAKE_COMMAND} -E rm -f ${llmc_archive} ${work}/all.o
                   COMMAND ${CMAKE_AR} rcs ${llmc_archive} ${work}/llmc.o
                   DEPENDS llmc_static llmc_core llmc_text ${parts} COMMENT "Making libllmc.a" VERBATIM)
add_custom_target(llmc_archive ALL DEPENDS ${llmc_archive})
