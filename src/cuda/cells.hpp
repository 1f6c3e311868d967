// How scales lie over a matrix, in the words of the kernels' problems.
#pragma once
#include "core/quantize/scale_grid.hpp"

namespace llmc::cuda {

template <class Problem>
void set_cells(Problem& p, const QuantizationArgs& args) {
  const ScaleLayout layout(args, p.columns);
  p.one_scale = layout.is_one();
  if (!p.one_scale) p.cell_rows = layout.rows_per_scale;
  p.cell_columns = layout.columns_per_scale;
  p.row_cells = layout.scale_columns;
  p.num_bits = args.num_bits;
  p.integer = args.type == NumberType::integer;
}

}  // namespace llmc::cuda
