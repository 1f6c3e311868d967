// The promises of llmc_tensor.h about grams and smoothing.
#include <catch2/catch.hpp>

#include <climits>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <thread>

#include "capi/gram_tools.hpp"
#include "llmc_dlpack.h"
#include "llmc_tools.h"

using Catch::Contains;
using namespace llmc::test;
using llmc::DType;
using llmc::Tensor;

// ---- statistics -------------------------------------------------------------------------------------------

TEST_CASE("a gram of two tokens is what one computes by hand") {
  const auto session = new_session();
  const auto gram = new_gram(2);
  float data[4] = {1, 2, -3, 0.5f};
  const std::vector<int64_t> shape{2, 2};
  add(session.get(), gram.get(), tensor_of(data, LLMC_DTYPE_FLOAT32, shape));
  const GramData seen = read_gram(gram.get());
  CHECK((seen.tokens == 2 && seen.samples == 1));
  CHECK(seen.gram == std::vector<float>{10, 0.5f, 0.5f, 4.25f});
  CHECK((seen.minimum == std::vector<float>{-3, 0.5f} && seen.maximum == std::vector<float>{1, 2}));
  CHECK((seen.sum_absolute == std::vector<double>{4, 2.5} &&
         seen.sum_squares == std::vector<double>{10, 4.25}));
}

TEST_CASE("any batch shape is its tokens, and its first of three dimensions its samples") {
  const auto session = new_session();
  Tensor data = random_tensor(DType::bf16, {2, 3, 5, 4}, 5);
  const auto seen = [&](const std::vector<int64_t>& shape) {
    const auto gram = new_gram(4);
    add(session.get(), gram.get(), tensor_of(data.data(), LLMC_DTYPE_BFLOAT16, shape));
    return read_gram(gram.get());
  };
  const GramData flat = seen({30, 4});
  GramData four = seen({2, 3, 5, 4}), three = seen({6, 5, 4});
  CHECK((flat.samples == 1 && four.samples == 2 && three.samples == 6));
  four.samples = three.samples = 1;
  CHECK((four == flat && three == flat));
  const GramData one = seen({4});
  CHECK((one.tokens == 1 && one.samples == 1));
  CHECK(seen({0, 4}).tokens == 0);
  CHECK(seen({3, 0, 4}).samples == 0);
}

TEST_CASE("float16 inputs count as the float32 numbers they stand for") {
  const auto session = new_session();
  Tensor half = random_tensor(DType::f16, {5000, 6}, 7), wide(DType::f32, {5000, 6});
  for (int64_t i = 0; i < half.size(); ++i)
    wide.as<float>()[i] = std::ldexp(1.0f + static_cast<float>(half.as<uint16_t>()[i] & 0x3FF) / 1024.0f,
                                     (half.as<uint16_t>()[i] >> 10) - 15);
  const auto a = new_gram(6), b = new_gram(6);
  add(session.get(), a.get(), tensor_of(half));
  add(session.get(), b.get(), tensor_of(wide));
  CHECK(read_gram(a.get()) == read_gram(b.get()));
}

TEST_CASE("merging grams gives the bits of adding all values to one, and threads change none") {
  Tensor data = random_tensor(DType::f32, {8192, 24}, 9);
  const std::vector<int64_t> half{4096, 24};
  GramData first;
  for (const int threads : {1, 3}) {
    const auto session = new_session(threads);
    const auto one = new_gram(24), left = new_gram(24), right = new_gram(24);
    add(session.get(), one.get(), tensor_of(data));
    add(session.get(), left.get(), tensor_of(data.data(), LLMC_DTYPE_FLOAT32, half));
    add(session.get(), right.get(), tensor_of(data.as<float>() + 4096 * 24, LLMC_DTYPE_FLOAT32, half));
    must(llmc_gram_merge, left.get(), right.get());
    const GramData whole = read_gram(one.get()), merged = read_gram(left.get());
    CHECK((merged.gram == whole.gram && merged.minimum == whole.minimum && merged.maximum == whole.maximum &&
           merged.tokens == whole.tokens));
    CHECK(merged.samples == 2);
    for (size_t i = 0; i < 24; ++i)
      CHECK(merged.sum_squares[i] == Approx(whole.sum_squares[i]).epsilon(1e-13));
    if (threads == 1) first = whole;
    else CHECK(whole == first);
  }
}

TEST_CASE("NaN and Inf in inputs are told with their place and leave the gram as it was") {
  const auto session = new_session();
  const auto gram = new_gram(3);
  Tensor data = random_tensor(DType::f32, {5, 3}, 11);
  add(session.get(), gram.get(), tensor_of(data));
  const GramData before = read_gram(gram.get());
  for (const float bad : {kNan, kInfinity, -kInfinity}) {
    Tensor wrong = Tensor::copy_of(data);
    wrong.as<float>()[4 * 3 + 2] = bad;
    const llmc_tensor tensor = tensor_of(wrong);
    const Refusal refused = refuse_add(session.get(), gram.get(), &tensor);
    CHECK(refused.status == LLMC_NUMERIC);
    CHECK_THAT(refused.message, Contains("channel 2 of token 4"));
  }
  CHECK(read_gram(gram.get()) == before);
  add(session.get(), gram.get(), tensor_of(data));
  CHECK(read_gram(gram.get()).tokens == 10);
}

TEST_CASE("grams of no, negative or absurd size are refused") {
  const auto status = [](int64_t channels, int32_t parts) {
    llmc_gram* gram = reinterpret_cast<llmc_gram*>(16);
    const Refusal refused = refusal(llmc_gram_create, channels, parts, &gram);
    CHECK(gram == nullptr);
    return refused.status;
  };
  for (const int64_t channels : {int64_t{0}, int64_t{-1}, INT64_MIN, INT64_MAX, int64_t{1} << 40})
    CHECK(status(channels, LLMC_GRAM_ALL) == LLMC_INVALID_ARGUMENT);
  CHECK(status(int64_t{1} << 29, LLMC_GRAM_ALL) == LLMC_OUT_OF_MEMORY);
  CHECK(status(INT64_MAX, LLMC_GRAM_CHANNELS) == LLMC_INVALID_ARGUMENT);
  CHECK(status(4, 2) == LLMC_INVALID_ARGUMENT);
  CHECK(status(4, -1) == LLMC_INVALID_ARGUMENT);
}

TEST_CASE("reading a gram wants arrays of its size, and no matrix where there is none") {
  const auto all = new_gram(3), channels = new_gram(3, LLMC_GRAM_CHANNELS);
  std::vector<float> room(9, 7.0f);
  llmc_gram_data data{};
  data.struct_size = sizeof data;
  data.gram = room.data();
  for (const int64_t wrong : {int64_t{0}, int64_t{2}, int64_t{-3}, INT64_MAX}) {
    data.channels = wrong;
    CHECK(refusal(llmc_gram_read, all.get(), &data).status == LLMC_INVALID_ARGUMENT);
  }
  data.channels = 3;
  CHECK(refusal(llmc_gram_read, channels.get(), &data).status == LLMC_INVALID_ARGUMENT);
  CHECK(room == std::vector<float>(9, 7.0f));
  must(llmc_gram_read, all.get(), &data);
  CHECK(room == std::vector<float>(9, 0.0f));
  CHECK(data.has_gram == LLMC_ON);
  data.struct_size = 12;
  CHECK(refusal(llmc_gram_read, all.get(), &data).status == LLMC_INVALID_ARGUMENT);
  CHECK(refusal(llmc_gram_merge, all.get(), channels.get()).status == LLMC_INVALID_ARGUMENT);
  CHECK(refusal(llmc_gram_merge, all.get(), new_gram(4).get()).status == LLMC_INVALID_ARGUMENT);
}

TEST_CASE("a saved gram comes back bit for bit, and takes the place of an older file") {
  const ScratchFolder scratch;
  const std::string path = scratch / "seen.gram";
  const auto session = new_session();
  Tensor data = random_tensor(DType::bf16, {50, 7}, 13);
  for (const int32_t parts : {LLMC_GRAM_ALL, LLMC_GRAM_CHANNELS}) {
    const auto gram = new_gram(7, parts);
    add(session.get(), gram.get(), tensor_of(data));
    save(gram.get(), path);
    const auto loaded = load(path);
    CHECK(read_gram(loaded.get()) == read_gram(gram.get()));
    add(session.get(), loaded.get(), tensor_of(data));
    add(session.get(), gram.get(), tensor_of(data));
    CHECK(read_gram(loaded.get()) == read_gram(gram.get()));
  }
  CHECK(std::distance(std::filesystem::directory_iterator(scratch.path()), {}) == 1);
  const auto gram = new_gram(7);
  CHECK(refusal(llmc_gram_save, gram.get(), (scratch / "no/where").c_str()).status != LLMC_OK);
  CHECK(refusal(llmc_gram_save, gram.get(), scratch.path().c_str()).status == LLMC_IO);
  CHECK(refuse_load(scratch / "nothing").status == LLMC_NOT_FOUND);
}

TEST_CASE("a gram's file with any byte changed or missing is refused") {
  const ScratchFolder scratch;
  const auto session = new_session();
  const auto gram = new_gram(3);
  Tensor data = random_tensor(DType::f32, {5, 3}, 15);
  add(session.get(), gram.get(), tensor_of(data));
  save(gram.get(), scratch / "good");
  const std::string good = read_text(scratch / "good");
  const auto write = [&](const std::string& text) {
    std::ofstream(scratch / "bad", std::ios::binary) << text;
  };
  for (size_t i = 0; i < good.size(); ++i) {
    std::string bad = good;
    bad[i] = static_cast<char>(bad[i] ^ 0x10);
    write(bad);
    llmc_gram* loaded = nullptr;
    const llmc_status status = llmc_gram_load((scratch / "bad").c_str(), &loaded, nullptr);
    const OwnedGram owned(loaded);
    // A change of the header's own wording may leave it as it was meant; the numbers never change unseen.
    if (status == LLMC_OK) CHECK(read_gram(loaded) == read_gram(gram.get()));
    else CHECK(status == LLMC_BAD_FILE);
    if (i >= good.size() - 9 * 4) CHECK(status == LLMC_BAD_FILE);
  }
  for (const size_t length : {size_t{0}, size_t{7}, size_t{100}, good.size() - 1}) {
    write(good.substr(0, length));
    CHECK(refuse_load(scratch / "bad").status == LLMC_BAD_FILE);
  }
  write(good + "x");
  CHECK(refuse_load(scratch / "bad").status == LLMC_BAD_FILE);
  CHECK_THAT(refuse_load(golden("micro-llama/model.safetensors")).message, Contains("checksum"));
}

// ---- smoothing --------------------------------------------------------------------------------------------

TEST_CASE("smoothing scales are those of the formula, and moving them changes no product") {
  const auto session = new_session();
  const auto gram = new_gram(2, LLMC_GRAM_CHANNELS);
  float x[4] = {-2, 1, 2, 0.5f}, w[4] = {0.5f, 1, -0.25f, 2}, norm[2] = {3, 5};
  const std::vector<int64_t> matrix{2, 2}, vector{2};
  add(session.get(), gram.get(), tensor_of(x, LLMC_DTYPE_FLOAT32, matrix));
  llmc_tensor weight = tensor_of(w, LLMC_DTYPE_FLOAT32, matrix),
              scaled = tensor_of(norm, LLMC_DTYPE_FLOAT32, vector);
  float s[2];
  must(llmc_smooth_scales, gram.get(), &weight, 1, nullptr, s, 2);
  CHECK(s[0] == Approx(std::sqrt(4.0) / std::sqrt(1.0)));  // range 4, 2 max|w| = 1
  CHECK(s[1] == Approx(std::sqrt(0.5) / std::sqrt(4.0)));
  must(llmc_smooth_apply, &weight, s, 2, LLMC_SMOOTH_MULTIPLY);
  must(llmc_smooth_apply, &scaled, s, 2, LLMC_SMOOTH_DIVIDE);
  CHECK(w[0] * norm[0] == Approx(0.5 * 3));
  CHECK(w[3] * norm[1] == Approx(2.0 * 5));
  llmc_smooth_options options{};
  options.struct_size = sizeof options;
  options.strength_set = LLMC_ON;  // strength 0: 1 / (2 max|w|)
  must(llmc_smooth_scales, gram.get(), &weight, 1, &options, s, 2);
  CHECK(s[0] == Approx(1.0 / (2.0 * 1.0)));
  options.algorithm = LLMC_SMOOTHING_LOGARITHMIC;
  must(llmc_smooth_scales, gram.get(), &weight, 1, &options, s, 2);
  CHECK(s[0] == Approx(4.0 / std::log2(6.0)));
  float plus[2] = {0.5f, 0};
  llmc_tensor gemma = tensor_of(plus, LLMC_DTYPE_FLOAT32, vector);
  const float two[2] = {2, 4};
  must(llmc_smooth_apply, &gemma, two, 2, LLMC_SMOOTH_DIVIDE_PLUS_ONE);
  CHECK((plus[0] == -0.25f && plus[1] == -0.75f));
}

TEST_CASE("smoothing refuses what it cannot use and changes nothing then") {
  const auto session = new_session();
  const auto empty = new_gram(2);
  const auto gram = new_gram(2);
  float x[2] = {1, 2}, room[3] = {9, 9, 9};
  const std::vector<int64_t> shape{1, 2}, wide{1, 3};
  const llmc_tensor good = tensor_of(x, LLMC_DTYPE_FLOAT32, shape);
  add(session.get(), gram.get(), good);
  const auto scales = [&](const llmc_gram* g, llmc_tensor w, int32_t count, llmc_smooth_options options,
                          int64_t channels) {
    return refusal(llmc_smooth_scales, g, &w, count, &options, room, channels).status;
  };
  llmc_smooth_options options{};
  options.struct_size = sizeof options;
  CHECK(scales(empty.get(), good, 1, options, 2) == LLMC_INVALID_ARGUMENT);  // nothing seen
  CHECK(scales(gram.get(), good, 0, options, 2) == LLMC_INVALID_ARGUMENT);
  CHECK(scales(gram.get(), good, -5, options, 2) == LLMC_INVALID_ARGUMENT);
  CHECK(scales(gram.get(), good, 1, options, 3) == LLMC_INVALID_ARGUMENT);
  CHECK(scales(gram.get(), tensor_of(room, LLMC_DTYPE_FLOAT32, wide), 1, options, 2) ==
        LLMC_INVALID_ARGUMENT);
  CHECK(scales(gram.get(), tensor_of(x, LLMC_DTYPE_INT32, shape), 1, options, 2) == LLMC_INVALID_ARGUMENT);
  for (const double strength : {-0.1, 1.1, static_cast<double>(kNan)}) {
    options.strength_set = LLMC_ON;
    options.strength = strength;
    CHECK(scales(gram.get(), good, 1, options, 2) == LLMC_INVALID_ARGUMENT);
  }
  options = {};
  options.struct_size = sizeof options;
  options.algorithm = 3;
  CHECK(scales(gram.get(), good, 1, options, 2) == LLMC_INVALID_ARGUMENT);
  CHECK(room[0] == 9);

  const auto apply = [&](llmc_tensor tensor, std::vector<float> s, int64_t channels, int32_t operation) {
    return refusal(llmc_smooth_apply, &tensor, s.data(), channels, operation).status;
  };
  CHECK(apply(good, {1, 1}, 3, LLMC_SMOOTH_DIVIDE) == LLMC_INVALID_ARGUMENT);
  CHECK(apply(good, {1, 1}, -2, LLMC_SMOOTH_DIVIDE) == LLMC_INVALID_ARGUMENT);
  CHECK(apply(good, {1, 1}, 2, 0) == LLMC_INVALID_ARGUMENT);
  CHECK(apply(good, {1, 1}, 2, 4) == LLMC_INVALID_ARGUMENT);
  for (const float bad : {0.0f, -1.0f, kNan, kInfinity})
    CHECK(apply(good, {1, bad}, 2, LLMC_SMOOTH_DIVIDE) == LLMC_INVALID_ARGUMENT);
  CHECK(apply(tensor_of(x, LLMC_DTYPE_INT32, shape), {1, 1}, 2, LLMC_SMOOTH_DIVIDE) == LLMC_INVALID_ARGUMENT);
  std::vector<char> odd(16);
  CHECK(apply(tensor_of(odd.data() + 1, LLMC_DTYPE_FLOAT32, shape), {1, 1}, 2, LLMC_SMOOTH_DIVIDE) ==
        LLMC_INVALID_ARGUMENT);
  CHECK((x[0] == 1 && x[1] == 2));
}
