# Compiler settings every target shares. No -ffast-math, no -march: instruction sets are chosen at run time.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_C_STANDARD 11)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_CXX_VISIBILITY_PRESET hidden)
set(CMAKE_VISIBILITY_INLINES_HIDDEN ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
add_compile_options($<$<COMPILE_LANG_AND_ID:CXX,GNU>:-fno-gnu-unique>)  # unique symbols can neither be made local (libllmc.a) nor be unloaded (dlclose)

# One flat build folder: build/<preset>/llmc and build/<preset>/libllmc.so.
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR})
set(CMAKE_LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR})

add_library(llmc_options INTERFACE)
target_compile_options(llmc_options INTERFACE -Wall -Wextra $<$<BOOL:${LLMC_WERROR}>:-Werror>)
if(LLMC_SANITIZE)
  target_compile_options(llmc_options INTERFACE -fsanitize=${LLMC_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  target_link_options(llmc_options INTERFACE -fsanitize=${LLMC_SANITIZE})
endif()
