// Behind CompressedMatrix.
#pragma once
#include "core/quantize/qparams.hpp"
#include "llmc/matrix.hpp"

namespace llmc {

struct CompressedMatrix::Parts {
  QuantizedMatrix matrix;
  Scheme scheme;
  Format format = Format::dense;
  DType model_dtype = DType::bf16;
  LinearReport report;
};

}  // namespace llmc
