#include "core/checkpoint/checkpoint_writer.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <mutex>
#include <unordered_map>

#include "core/checkpoint/checksum.hpp"
#include "core/checkpoint/json_value.hpp"
#include "core/checkpoint/output_folder.hpp"
#include "llmc/error.hpp"

namespace llmc {
namespace {

namespace fs = std::filesystem;

// At most kIoPiece bytes that were handed in together: what was meant to be at [begin, begin + bytes) of the tensor.
struct Piece {
  int64_t bytes = 0;
  uint64_t sum = 0;
};

struct Slot {
  PlannedTensor plan;
  size_t shard = 0;
  int64_t offset = 0;  // in the shard's file
  int64_t bytes = 0;
  std::map<int64_t, Piece> pieces;  // by first byte
};

int64_t slot_bytes(const PlannedTensor& tensor) {
  const auto bytes = byte_count(tensor.shape, tensor.dtype);
  if (!bytes) throw Error(ErrorCode::invalid_argument, fmt::format("writer: tensor '{}' has shape {}, which overflows", tensor.name, to_string(tensor.shape)));
  return *bytes;
}

int64_t row_bytes(const Slot& slot) { return slot.plan.shape.empty() ? slot.bytes : slot.plan.shape[0] == 0 ? 0 : slot.bytes / slot.plan.shape[0]; }

bool same_row_shape(const Shape& planned, const Shape& rows) {
  if (planned.size() != rows.size()) return false;
  return planned.size() < 2 || std::equal(planned.begin() + 1, planned.end(), rows.begin() + 1);
}

}  // namespace

struct CheckpointWriter::State {
  explicit State(Options given) : options(std::move(given)), folder(options.output_dir, options.input_dir, options.overwrite) {}

  Options options;
  OutputFolder folder;
  std::vector<File> shards;
  std::vector<std::string> shard_names;
  std::unordered_map<std::string, Slot> slots;
  std::mutex mutex;  // guards every Slot::pieces
  int64_t total_bytes = 0;
  bool planned = false, finished = false;

  std::string path_of(const std::string& name) const { return (fs::path(folder.partial()) / name).string(); }

  Slot& slot(const std::string& name) {
    const auto found = slots.find(name);
    if (found == slots.end()) throw Error(ErrorCode::internal, fmt::format("writer: tensor '{}' was not planned", name));
    return found->second;
  }

  // Claims [begin, begin + bytes) before it is written, so that two threads cannot both write it.
  void claim(Slot& slot, int64_t begin, Piece piece) {
    const std::lock_guard lock(mutex);
    const auto next = slot.pieces.lower_bound(begin);
    const bool over_next = next != slot.pieces.end() && next->first < begin + std::max<int64_t>(piece.bytes, 1);
    const bool over_previous = next != slot.pieces.begin() && std::prev(next)->first + std::prev(next)->second.bytes > begin;
    if (over_next || over_previous)
      throw Error(ErrorCode::internal, fmt::format("writer: tensor '{}' got its bytes [{}, {}) twice", slot.plan.name, begin, begin + piece.bytes));
    slot.pieces.emplace_hint(next, begin, piece);
  }

  void write_bytes(Slot& slot, int64_t begin, const std::byte* bytes, int64_t count) {
    for (int64_t done = 0; done < count; done += kIoPiece) {
      const int64_t part = std::min(kIoPiece, count - done);
      claim(slot, begin + done, {part, checksum(bytes + done, part)});
      shards[slot.shard].write_at(slot.offset + begin + done, bytes + done, part);
    }
  }

  void add_shard(const std::string& name, const std::vector<PlannedTensor>& tensors) {
    const std::string header = make_safetensors_header(tensors);
    File file = File::create(path_of(name));
    int64_t offset = static_cast<int64_t>(header.size());
    for (const PlannedTensor& tensor : tensors) {
      const int64_t bytes = slot_bytes(tensor);
      const auto [there, added] = slots.try_emplace(tensor.name, Slot{tensor, shards.size(), offset, bytes, {}});
      if (!added) throw Error(ErrorCode::internal, fmt::format("writer: tensor '{}' was planned twice", tensor.name));
      offset += bytes;
      total_bytes += bytes;
    }
    file.reserve(offset);
    file.write_at(0, reinterpret_cast<const std::byte*>(header.data()), static_cast<int64_t>(header.size()));
    shards.push_back(std::move(file));
    shard_names.push_back(name);
  }

  void write_index() {
    std::vector<std::pair<std::string, JsonValue>> map;
    for (const auto& [name, slot] : slots) map.emplace_back(name, JsonValue::from_string(shard_names[slot.shard]));
    const JsonValue index = JsonValue::object({{"metadata", JsonValue::object({{"total_size", JsonValue::from_int(total_bytes)}})}, {"weight_map", JsonValue::object(std::move(map))}});
    write_text_file(path_of("model.safetensors.index.json"), dump_json_like_python(index) + "\n");
  }

  void check_complete(const Slot& slot) const {
    int64_t expected = 0;
    for (const auto& [begin, piece] : slot.pieces) {
      if (begin != expected) break;
      expected += piece.bytes;
    }
    if (expected == slot.bytes) return;
    const int64_t per_row = std::max<int64_t>(row_bytes(slot), 1);
    throw Error(ErrorCode::internal, fmt::format("writer: tensor '{}' was never given its row {} of {}", slot.plan.name, expected / per_row, slot.bytes / per_row));
  }

  void read_back(const Slot& slot) const {
    std::vector<std::byte> bytes;
    for (const auto& [begin, piece] : slot.pieces) {
      bytes.resize(static_cast<size_t>(piece.bytes));
      shards[slot.shard].read_at(slot.offset + begin, bytes.data(), piece.bytes);
      if (checksum(bytes.data(), piece.bytes) != piece.sum)
        throw Error(ErrorCode::io, fmt::format("{}: tensor '{}' reads back differently from what was written, in bytes [{}, {})", shards[slot.shard].path(), slot.plan.name, begin,
                                               begin + piece.bytes));
    }
  }
};

CheckpointWriter::CheckpointWriter(Options options) : state_(std::make_unique<State>(std::move(options))) {}
CheckpointWriter::~CheckpointWriter() = default;

void CheckpointWriter::plan(std::vector<PlannedTensor> tensors) {
  if (state_->planned) throw Error(ErrorCode::internal, "writer: planned twice");
  state_->planned = true;
  std::vector<std::vector<PlannedTensor>> groups(1);
  int64_t filled = 0;
  for (PlannedTensor& tensor : tensors) {
    const int64_t bytes = slot_bytes(tensor);
    if (!groups.back().empty() && filled > state_->options.max_shard_bytes - bytes) {
      groups.emplace_back();
      filled = 0;
    }
    filled += bytes;
    groups.back().push_back(std::move(tensor));
  }
  // Wide elements first keeps every tensor aligned to its element size.
  for (auto& group : groups)
    std::stable_sort(group.begin(), group.end(), [](const PlannedTensor& a, const PlannedTensor& b) { return item_size(a.dtype) > item_size(b.dtype); });
  for (size_t i = 0; i < groups.size(); ++i)
    state_->add_shard(groups.size() == 1 ? "model.safetensors" : fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, groups.size()), groups[i]);
  if (groups.size() > 1) state_->write_index();
}

void CheckpointWriter::write_rows(const std::string& name, int64_t first_row, const TensorView& rows) {
  Slot& slot = state_->slot(name);
  const int64_t all_rows = slot.plan.shape.empty() ? 1 : slot.plan.shape[0];
  if (rows.dtype != slot.plan.dtype || !same_row_shape(slot.plan.shape, rows.shape) || first_row < 0 || first_row > all_rows - rows.rows())
    throw Error(ErrorCode::internal, fmt::format("writer: tensor '{}' is planned as {} {}, got {} {} from row {}", name, to_string(slot.plan.shape), dtype_name(slot.plan.dtype),
                                                 to_string(rows.shape), dtype_name(rows.dtype), first_row));
  state_->write_bytes(slot, first_row * row_bytes(slot), rows.data, rows.bytes());
}

void CheckpointWriter::copy_tensor(const Checkpoint& from, const std::string& name, const std::string& as) {
  Slot& slot = state_->slot(as);
  const TensorInfo info = from.info(name);
  if (info.dtype != slot.plan.dtype || info.shape != slot.plan.shape)
    throw Error(ErrorCode::internal, fmt::format("writer: tensor '{}' is planned as {} {}, its source is {} {}", as, to_string(slot.plan.shape), dtype_name(slot.plan.dtype),
                                                 to_string(info.shape), dtype_name(info.dtype)));
  std::vector<std::byte> piece(static_cast<size_t>(std::min(info.bytes, kIoPiece)));
  for (int64_t begin = 0; begin < info.bytes; begin += kIoPiece) {
    const int64_t count = std::min(kIoPiece, info.bytes - begin);
    from.read_bytes(name, begin, count, piece.data());
    state_->write_bytes(slot, begin, piece.data(), count);
  }
}

void CheckpointWriter::write_file(const std::string& file_name, std::string_view contents) {
  if (file_name.empty() || file_name.find('/') != std::string::npos || file_name == "." || file_name == "..")
    throw Error(ErrorCode::invalid_argument, fmt::format("writer: '{}' is not a plain file name", file_name));
  write_text_file(state_->path_of(file_name), contents);
}

void CheckpointWriter::copy_file(const std::string& source_path) {
  write_file(fs::path(source_path).filename().string(), read_text_file(source_path));
}

void CheckpointWriter::finish(const ParallelFor& parallel) {
  if (state_->finished) throw Error(ErrorCode::internal, "writer: finished twice");
  std::vector<const Slot*> slots;
  for (const auto& [name, slot] : state_->slots) slots.push_back(&slot);
  std::sort(slots.begin(), slots.end(), [](const Slot* a, const Slot* b) { return std::pair(a->shard, a->offset) < std::pair(b->shard, b->offset); });
  for (const Slot* slot : slots) state_->check_complete(*slot);

  for (const File& shard : state_->shards) {
    shard.sync();
    if (state_->options.read_back) shard.drop_cache();
  }
  if (state_->options.read_back) {
    const auto body = [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) state_->read_back(*slots[static_cast<size_t>(i)]);
    };
    const auto count = static_cast<int64_t>(slots.size());
    parallel ? parallel(count, 1, body) : body(0, count);
  }
  state_->folder.publish();
  state_->finished = true;
}

const std::string& CheckpointWriter::partial_directory() const { return state_->folder.partial(); }
int64_t CheckpointWriter::total_bytes() const { return state_->total_bytes; }

}  // namespace llmc
