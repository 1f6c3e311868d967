// Each kernel of the CUDA module beside its limit and beside what one would write first: one JSON line a
// step. usage: llmc_kernel_ladder [--smoke] Shapes are those of one Llama-3-8B layer and 4096 tokens.
// --smoke: tiny shapes, each once, for a machine without a GPU (the emulator's times mean nothing).
#include <chrono>
#include <cstdio>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "cuda/check.hpp"
#include "cuda/device_heap.hpp"
#include "cuda/engine.hpp"
#include "cuda/products.hpp"
#include "naive_kernels.hpp"
#include "llmc/backend/rows.hpp"

using namespace llmc;
using namespace llmc::cuda;

namespace {

// Dense bf16 tensor-core and memory peaks by name, from NVIDIA's data sheets; 0 where not listed.
struct Peak {
  const char* name;
  double tensor_flops, float_flops, bytes;
};
constexpr Peak kPeaks[] = {{"H100", 989e12, 67e12, 3.35e12},
                           {"H200", 989e12, 67e12, 4.8e12},
                           {"A100", 312e12, 19.5e12, 2.0e12},
                           {"L40S", 362e12, 91e12, 0.864e12},
                           {"4090", 165e12, 82e12, 1.008e12}};

class Ladder {
 public:
  explicit Ladder(bool smoke) : smoke_(smoke) {
    cudaDeviceProp properties{};
    check(cudaGetDeviceProperties(&properties, 0), "cudaGetDeviceProperties");
    for (const Peak& peak : kPeaks)
      if (std::strstr(properties.name, peak.name)) peak_ = peak;
    device_ = properties.name;
    check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreate");
  }

  enum class Limit { tensor, floats, memory };
  // amount: FLOP or bytes of one run, the least that the job needs.
  void step(const std::string& ladder,
            const std::string& name,
            Limit limit,
            double amount,
            const std::function<void()>& run) {
    run();
    check(cudaStreamSynchronize(stream), name.c_str());
    double best = 1e30;
    for (int repeat = 0; repeat < (smoke_ ? 1 : 20); ++repeat) {
      const auto start = std::chrono::steady_clock::now();
      run();
      check(cudaStreamSynchronize(stream), name.c_str());
      best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    }
    const double peak = limit == Limit::tensor ? peak_.tensor_flops
        : limit == Limit::floats               ? peak_.float_flops
                                               : peak_.bytes;
    const double gain = ladder == last_ladder_ ? last_seconds_ / best : 1;
    std::printf(
        "{\"device\": \"%s\", \"kernel\": \"%s\", \"step\": \"%s\", \"seconds\": %.3e, \"%s\": %.4g, "
        "\"share_of_peak\": %.4f, \"gain\": %.3g}\n",
        device_.c_str(), ladder.c_str(), name.c_str(), best,
        limit == Limit::memory ? "bytes_per_second" : "flops", amount / best,
        peak > 0 ? amount / best / peak : 0.0, gain);
    last_ladder_ = ladder;
    last_seconds_ = best;
  }

  cudaStream_t stream = nullptr;

 private:
  const bool smoke_;
  Peak peak_{"", 0, 0, 0};
  std::string device_, last_ladder_;
  double last_seconds_ = 0;
};

std::vector<uint16_t> pattern(int64_t count) {  // small numbers of both signs, no two neighbours alike
  std::vector<uint16_t> values(static_cast<size_t>(count));
  uint32_t state = 1;
  for (uint16_t& value : values) {
    state = state * 1664525u + 1013904223u;
    value = static_cast<uint16_t>((state >> 31) << 15 | (0x3C00u + (state >> 20 & 0x1FFu)));
  }
  return values;
}

}  // namespace

int main(int argc, char** argv) {
  const bool smoke = argc > 1 && std::string(argv[1]) == "--smoke";
  Ladder ladder(smoke);
  cudaStream_t stream = ladder.stream;
  DeviceHeap heap(0, stream);
  Products products(heap, stream);
  const int64_t tokens = smoke ? 64 : 4096, width = smoke ? 128 : 4096, wide = smoke ? 256 : 14336,
                heads = smoke ? 2 : 32, kv_heads = smoke ? 1 : 8, head_dim = 128;
  using Limit = Ladder::Limit;
  const auto as_double = [](int64_t x) { return static_cast<double>(x); };
  const Tensor x = heap.upload(pattern(tokens * wide), DType::bf16),
               y = heap.upload(pattern(tokens * wide), DType::bf16);
  Tensor out = heap.tensor(DType::bf16, {tokens * wide}), out2 = heap.tensor(DType::bf16, {tokens * wide});

  {  // Hessian of one input
    Tensor gram = heap.zeros(DType::f32, {width, width});
    const double flops = as_double(tokens) * as_double(width) * as_double(width + 1);
    ladder.step("gram", "a thread per pair", Limit::tensor, flops,
                [&] { naive::add_to_gram(x.data(), tokens, width, gram.as<float>(), stream); });
    const Tensor floats = heap.zeros(DType::f32, {tokens, width});
    ladder.step("gram", "float32 tiles in shared memory", Limit::tensor, flops,
                [&] { add_to_gram(floats.data(), DType::f32, tokens, width, gram.as<float>(), stream); });
    ladder.step("gram", "bf16 tensor cores, copies beside", Limit::tensor, flops,
                [&] { add_to_gram(x.data(), DType::bf16, tokens, width, gram.as<float>(), stream); });
    ladder.step("gram", "cuBLASLt, the whole square", Limit::tensor, flops, [&] {
      Product product;  // x^T x by columns is a product of x with itself, transposed both
      product.rows = product.columns = width;
      product.depth = tokens;
      product.operand_dtype = DType::bf16;
      product.a = product.b = x.data();  // as [width, tokens]: the same work on other numbers
      product.a_stride = product.b_stride = tokens;
      product.c = gram.data();
      product.c_stride = width;
      products.multiply(product);
    });
  }
  {  // attention of one sequence
    const AttentionTile whole{0, 0, tokens};
    std::vector<AttentionTile> tiles;
    for (int64_t query = 0; query < tokens; query += attention_queries_per_tile())
      tiles.push_back({query, 0, tokens});
    const Tensor table = heap.upload(tiles, DType::u8), one = heap.upload(std::vector{whole}, DType::u8);
    AttentionProblem p;
    p.queries = x.data();
    p.keys = y.data();
    p.values = y.data();
    p.out = out.data();
    p.tiles = table.as<AttentionTile>();
    p.tile_count = static_cast<int64_t>(tiles.size());
    p.heads = static_cast<int>(heads);
    p.kv_heads = static_cast<int>(kv_heads);
    p.head_dim = static_cast<int>(head_dim);
    p.scale = 0.088f;
    const double flops = 2.0 * as_double(tokens) * as_double(tokens) * as_double(heads * head_dim);
    ladder.step("attention", "a thread per query and channel", Limit::tensor, flops,
                [&] { naive::attend(p, tokens, stream); });
    ladder.step("attention", "online softmax on tensor cores", Limit::tensor, flops,
                [&] { attend(p, DType::bf16, stream); });
  }
  {  // 128 columns of q, k and v
    const int64_t rows = smoke ? 100 : 6144;
    Tensor weights = heap.zeros(DType::f32, {rows, kGptqBlock}),
           current = heap.zeros(DType::f32, {rows, kGptqBlock}),
           codes = heap.tensor(DType::u8, {rows, kGptqBlock}), loss = heap.zeros(DType::f64, {rows});
    std::vector<float> inverse(kGptqBlock * kGptqBlock, 0.0f);
    std::vector<int32_t> order(kGptqBlock), column(kGptqBlock, 0);
    for (int i = 0; i < kGptqBlock; ++i) {
      order[static_cast<size_t>(i)] = i;
      for (int j = i; j < kGptqBlock; ++j)
        inverse[static_cast<size_t>(i * kGptqBlock + j)] = i == j ? 1.0f : 0.01f;
    }
    const Tensor inverses = heap.upload(inverse, DType::f32), orders = heap.upload(order, DType::i32),
                 columns = heap.upload(column, DType::i32),
                 scales = heap.upload(std::vector<float>(static_cast<size_t>(rows), 0.1f), DType::f32);
    ColumnProblem p;
    p.rows = rows;
    p.columns = kGptqBlock;
    p.weights = weights.as<float>();
    p.inverses = inverses.as<float>();
    p.scales = scales.as<float>();
    p.scale_columns = 1;
    p.scale_column = columns.as<int32_t>();
    p.order = orders.as<int32_t>();
    p.codes = codes.as<uint8_t>();
    p.loss = loss.as<double>();
    const double flops = as_double(rows) * kGptqBlock * kGptqBlock;
    ladder.step("gptq columns", "a launch per column", Limit::floats, flops,
                [&] { naive::quantize_column_block(p, current.as<float>(), -8, 7, stream); });
    const NumberGrid grid{NumberType::integer, 4, true};
    const Tensor one = heap.upload(std::vector{p}, DType::u8);
    ladder.step("gptq columns", "fused, four threads a row", Limit::floats, flops, [&] {
      quantize_column_block(one.as<ColumnProblem>(), 1, rows, 0, false, grid, DType::bf16, stream);
    });
    constexpr int kExperts = 8;
    std::vector<ColumnProblem> experts(kExperts, p);
    for (int64_t e = 0; e < kExperts; ++e) {
      ColumnProblem& expert = experts[static_cast<size_t>(e)];
      const int64_t first = e * (rows / kExperts);
      expert.rows = rows / kExperts;
      expert.weights += first * kGptqBlock;
      expert.scales += first;
      expert.codes += first * kGptqBlock;
      expert.loss += first;
    }
    const Tensor all = heap.upload(experts, DType::u8);
    ladder.step("gptq columns of 8 experts", "one after another", Limit::floats, flops, [&] {
      for (int e = 0; e < kExperts; ++e)
        quantize_column_block(all.as<ColumnProblem>() + e, 1, rows / kExperts, 0, false, grid, DType::bf16,
                              stream);
    });
    ladder.step("gptq columns of 8 experts", "side by side", Limit::floats, flops, [&] {
      quantize_column_block(all.as<ColumnProblem>(), kExperts, rows / kExperts, 0, false, grid, DType::bf16,
                            stream);
    });
  }
  {  // one matrix to W4A16
    const int64_t rows = tokens, columns = wide;
    Tensor scales = heap.tensor(DType::f32, {rows, columns / 128}),
           codes = heap.tensor(DType::i8, {rows, columns}),
           words = heap.tensor(DType::u8, {rows, columns / 2});
    // read bf16, write 4 bits and a scale per 128
    const double bytes = as_double(rows) * as_double(columns) * 2.516;
    ladder.step("round to nearest", "scales, codes and words apart", Limit::memory, bytes, [&] {
      naive::quantize_group_rows(x.data(), rows, columns, 128, scales.as<float>(), codes.as<int8_t>(),
                                 words.as<uint32_t>(), stream);
    });
    QuantizationArgs args;
    args.num_bits = 4;
    args.strategy = Strategy::group;
    args.group_size = 128;
    RowProblem p;
    p.weight = x.data();
    p.rows = rows;
    p.columns = columns;
    p.cell_columns = 128;
    p.row_cells = columns / 128;
    p.grid = ScaleGrid(args, DType::bf16, {});
    p.packed = true;
    p.want_error = false;
    p.scales = scales.data();
    p.codes = words.data();
    p.code_row_bytes = columns / 2;
    const Tensor bad = heap.upload(std::vector{~0ull}, DType::u8);
    p.bad = const_cast<unsigned long long*>(bad.as<unsigned long long>());
    ladder.step("round to nearest", "fused", Limit::memory, bytes, [&] { quantize_row_cells(p, stream); });
  }
  {  // between the products
    const double value = 2.0 * as_double(tokens * width), wide_value = 2.0 * as_double(tokens * wide);
    const Tensor ones = heap.upload(std::vector<float>(static_cast<size_t>(width), 1.0f), DType::f32);
    ladder.step("residual and norm", "apart", Limit::memory, 4 * value, [&] {
      add_values(x.data(), y.data(), DType::bf16, tokens * width, out.data(), stream);
      norm_values(NormKind::rms, out.data(), nullptr, nullptr, DType::bf16, tokens, width, 1e-5f,
                  ones.as<float>(), nullptr, out2.data(), stream);
    });
    ladder.step("residual and norm", "fused", Limit::memory, 4 * value, [&] {
      norm_values(NormKind::rms, x.data(), y.data(), out.data(), DType::bf16, tokens, width, 1e-5f,
                  ones.as<float>(), nullptr, out2.data(), stream);
    });
    ladder.step("silu and product", "apart", Limit::memory, 3 * wide_value, [&] {
      activate_values(ActivationKind::silu, x.data(), DType::bf16, tokens * wide, out.data(), stream);
      multiply_values(out.data(), y.data(), DType::bf16, tokens * wide, out2.data(), stream);
    });
    ladder.step("silu and product", "fused", Limit::memory, 3 * wide_value, [&] {
      activate_and_multiply(ActivationKind::silu, x.data(), y.data(), DType::bf16, tokens * wide, out2.data(),
                            stream);
    });
  }
  {  // the products themselves
    Product product;
    product.rows = tokens;
    product.columns = wide;
    product.depth = width;
    product.operand_dtype = product.result_dtype = DType::bf16;
    const Tensor matrix = heap.upload(pattern(wide * width), DType::bf16);
    product.a = x.data();
    product.b = matrix.data();
    product.c = out.data();
    product.a_stride = product.b_stride = width;
    product.c_stride = wide;
    ladder.step("product of a tile", "cuBLASLt", Limit::tensor,
                2.0 * as_double(tokens) * as_double(wide) * as_double(width),
                [&] { products.multiply(product); });
  }
  return 0;
}
