/* DLPack tensors (github.com/dmlc/dlpack, structures of version 0.2 to 1.x) as llmc_tensor. */
#ifndef LLMC_DLPACK_H
#define LLMC_DLPACK_H

#include "llmc_tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/* dl_tensor: a `const DLTensor *`, such as &managed->dl_tensor; a pointer without type, so that this header
 * needs no dlpack.h and fits any version of it. `tensor`: struct_size must be set. It borrows the
 * DLTensor's data, shape and strides: keep the DLManagedTensor until you are done, then call its deleter.
 * Memory of CUDA devices is described as such; pinned host memory counts as the CPU's. LLMC_UNSUPPORTED for
 * other devices, vector lanes and dtypes llmc does not know. `stream` is set to NULL: DLPack hands over
 * memory that is ready on the consumer's stream. */
LLMC_API llmc_status llmc_tensor_from_dlpack(const void* dl_tensor, llmc_tensor* tensor, llmc_error** error);

#ifdef __cplusplus
}
#endif
#endif
