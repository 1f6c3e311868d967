# The sources of the CUDA module, for nvcc (src/cuda) and for the emulator (tests/cuda_emulation).
file(GLOB llmc_cuda_kernels CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/cuda/*.cu)
file(GLOB llmc_cuda_host CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/cuda/*.cpp ${PROJECT_SOURCE_DIR}/src/cuda/operations/*.cpp)
list(FILTER llmc_cuda_host EXCLUDE REGEX "/(loader|build_id)\\.cpp$")  # parts of libllmc.so
