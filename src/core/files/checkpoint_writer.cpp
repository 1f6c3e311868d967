#include "core/files/checkpoint_writer.hpp"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <map>
#include <mutex>
#include <unordered_map>

#include "core/files/checksum.hpp"
#include "core/files/read_back.hpp"
#include "core/json/json_value.hpp"
#include "llmc/error.hpp"

namespace llmc {
namespace {

namespace fs = std::filesystem;

// At most kIoPiece bytes that were handed in together: what was meant to be at [begin, begin + bytes) of the
// tensor.
struct Piece {
  int64_t bytes = 0;
  uint64_t sum = 0;
  bool read_back = false;
};

// below this the writer's thread does not bother: whole pages only leave the cache
constexpr int64_t kSmallPiece = 256 << 10;

struct Slot {
  PlannedTensor plan;
  size_t shard = 0;
  int64_t offset = 0;  // in the shard's file
  int64_t bytes = 0;
  std::map<int64_t, Piece> pieces;  // by first byte
};

int64_t slot_bytes(const PlannedTensor& tensor) {
  const auto bytes = byte_count(tensor.shape, tensor.dtype);
  if (!bytes)
    throw Error(ErrorCode::invalid_argument,
                fmt::format("writer: tensor '{}' has shape {}, which overflows", tensor.name,
                            to_string(tensor.shape)));
  return *bytes;
}

int64_t row_bytes(const Slot& slot) {
  return slot.plan.shape.empty() ? slot.bytes : slot.plan.shape[0] == 0 ? 0 : slot.bytes / slot.plan.shape[0];
}

bool same_row_shape(const Shape& planned, const Shape& rows) {
  if (planned.size() != rows.size()) return false;
  return planned.size() < 2 || std::equal(planned.begin() + 1, planned.end(), rows.begin() + 1);
}

}  // namespace

struct CheckpointWriter::State {
  explicit State(Options given)
      : options(std::move(given)),
        folder(options.output_dir, options.inputs, options.overwrite),
        background(
            options.read_back_lag,
            options.read_back_from_disk,
            [this](const WrittenPiece& piece) { differs(piece); },
            [this](const WrittenPiece& piece) {
              const std::lock_guard lock(mutex);
              const_cast<Slot*>(static_cast<const Slot*>(piece.owner))->pieces.at(piece.begin).read_back =
                  true;
            }) {}

  Options options;
  OutputFolder folder;
  std::vector<File> shards;
  std::vector<std::string> shard_names;
  std::unordered_map<std::string, Slot> slots;
  std::mutex mutex;  // guards every Slot::pieces
  int64_t total_bytes = 0;
  bool planned = false, finished = false;
  BackgroundReadBack background;  // the last member: its thread uses the others

  std::string path_of(const std::string& name) const { return (fs::path(folder.partial()) / name).string(); }

  Slot& slot(const std::string& name) {
    const auto found = slots.find(name);
    if (found == slots.end())
      throw Error(ErrorCode::internal, fmt::format("writer: tensor '{}' was not planned", name));
    return found->second;
  }

  // Claims [begin, begin + bytes) before it is written, so that two threads cannot both write it.
  void claim(Slot& slot, int64_t begin, Piece piece) {
    const std::lock_guard lock(mutex);
    const auto next = slot.pieces.lower_bound(begin);
    const bool over_next = next != slot.pieces.end() &&
        next->first < begin + std::max<int64_t>(piece.bytes, 1);
    const bool over_previous = next != slot.pieces.begin() &&
        std::prev(next)->first + std::prev(next)->second.bytes > begin;
    if (over_next || over_previous)
      throw Error(ErrorCode::internal,
                  fmt::format("writer: tensor '{}' got its bytes [{}, {}) twice", slot.plan.name, begin,
                              begin + piece.bytes));
    slot.pieces.emplace_hint(next, begin, piece);
  }

  void write_bytes(Slot& slot, int64_t begin, const std::byte* bytes, int64_t count) {
    for (int64_t done = 0; done < count; done += kIoPiece) {
      const int64_t part = std::min(kIoPiece, count - done);
      const uint64_t sum = checksum(bytes + done, part);
      claim(slot, begin + done, {part, sum});
      const File& file = shards[slot.shard];
      file.write_at(slot.offset + begin + done, bytes + done, part);
      if (part < kSmallPiece) continue;
      file.start_flush(slot.offset + begin + done, part);
      if (options.read_back)
        background.add({&file, slot.offset + begin + done, part, sum, &slot, begin + done});
    }
  }

  void add_shard(const std::string& name, const std::vector<PlannedTensor>& tensors) {
    const std::string header = make_safetensors_header(tensors);
    File file = File::create(path_of(name));
    int64_t offset = static_cast<int64_t>(header.size());
    for (const PlannedTensor& tensor : tensors) {
      const int64_t bytes = slot_bytes(tensor);
      const auto [there, added] = slots.try_emplace(tensor.name,
                                                    Slot{tensor, shards.size(), offset, bytes, {}});
      if (!added)
        throw Error(ErrorCode::internal, fmt::format("writer: tensor '{}' was planned twice", tensor.name));
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
    for (const auto& [name, slot] : slots)
      map.emplace_back(name, JsonValue::from_string(shard_names[slot.shard]));
    const JsonValue index = JsonValue::object(
        {{"metadata", JsonValue::object({{"total_size", JsonValue::from_int(total_bytes)}})},
         {"weight_map", JsonValue::object(std::move(map))}});
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
    throw Error(ErrorCode::internal,
                fmt::format("writer: tensor '{}' was never given its row {} of {}", slot.plan.name,
                            expected / per_row, slot.bytes / per_row));
  }

  [[noreturn]] void differs(const WrittenPiece& piece) const {
    throw Error(ErrorCode::io,
                fmt::format("{}: tensor '{}' reads back differently from what was written, in bytes [{}, {})",
                            piece.file->path(), static_cast<const Slot*>(piece.owner)->plan.name, piece.begin,
                            piece.begin + piece.bytes));
  }

  void read_back_rest(const Slot& slot) const {
    std::vector<std::byte> memory;
    for (const auto& [begin, piece] : slot.pieces)
      if (!piece.read_back)
        read_back({&shards[slot.shard], slot.offset + begin, piece.bytes, piece.sum, &slot, begin}, memory,
                  [this](const WrittenPiece& wrong) { differs(wrong); });
  }
};

CheckpointWriter::CheckpointWriter(Options options) : state_(std::make_unique<State>(std::move(options))) {}
CheckpointWriter::~CheckpointWriter() = default;

namespace {

struct Shard {
  std::string name;
  std::vector<PlannedTensor> tensors;
};

std::vector<Shard> shards_by_size(std::vector<PlannedTensor>&& tensors, int64_t max_bytes) {
  std::vector<Shard> shards(1);
  int64_t filled = 0;
  for (PlannedTensor& tensor : tensors) {
    const int64_t bytes = slot_bytes(tensor);
    if (!shards.back().tensors.empty() && filled > max_bytes - bytes) {
      shards.emplace_back();
      filled = 0;
    }
    filled += bytes;
    shards.back().tensors.push_back(std::move(tensor));
  }
  for (size_t i = 0; i < shards.size(); ++i)
    shards[i].name = shards.size() == 1
        ? "model.safetensors"
        : fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, shards.size());
  return shards;
}

std::vector<Shard> shards_by_name(std::vector<PlannedTensor>&& tensors) {
  std::map<std::string, Shard> shards;
  for (PlannedTensor& tensor : tensors) {
    if (tensor.file.empty() || tensor.file.find('/') != std::string::npos)
      throw Error(
          ErrorCode::internal,
          fmt::format(
              "writer: tensor '{}' is planned for the file '{}', wanted a plain name for all or for none",
              tensor.name, tensor.file));
    Shard& shard = shards[tensor.file];
    shard.name = tensor.file;
    shard.tensors.push_back(std::move(tensor));
  }
  std::vector<Shard> result;
  for (auto& [name, shard] : shards) result.push_back(std::move(shard));
  return result;
}

}  // namespace

void CheckpointWriter::plan(std::vector<PlannedTensor> tensors) {
  if (state_->planned) throw Error(ErrorCode::internal, "writer: planned twice");
  state_->planned = true;
  const bool named = std::any_of(tensors.begin(), tensors.end(),
                                 [](const PlannedTensor& tensor) { return !tensor.file.empty(); });
  std::vector<Shard> shards = named ? shards_by_name(std::move(tensors))
                                    : shards_by_size(std::move(tensors), state_->options.max_shard_bytes);
  for (Shard& shard : shards) {
    // Wide elements first keeps every tensor aligned to its element size.
    std::stable_sort(shard.tensors.begin(), shard.tensors.end(),
                     [](const PlannedTensor& a, const PlannedTensor& b) {
                       return item_size(a.dtype) > item_size(b.dtype);
                     });
    state_->add_shard(shard.name, shard.tensors);
  }
  if (shards.size() > 1 || shards[0].name != "model.safetensors") state_->write_index();
}

void CheckpointWriter::write_rows(const std::string& name, int64_t first_row, const TensorView& rows) {
  Slot& slot = state_->slot(name);
  const int64_t all_rows = slot.plan.shape.empty() ? 1 : slot.plan.shape[0];
  if (rows.dtype != slot.plan.dtype || !same_row_shape(slot.plan.shape, rows.shape) || first_row < 0 ||
      first_row > all_rows - rows.rows())
    throw Error(ErrorCode::internal,
                fmt::format("writer: tensor '{}' is planned as {} {}, got {} {} from row {}", name,
                            to_string(slot.plan.shape), dtype_name(slot.plan.dtype), to_string(rows.shape),
                            dtype_name(rows.dtype), first_row));
  state_->write_bytes(slot, first_row * row_bytes(slot), rows.data, rows.bytes());
}

void CheckpointWriter::write_bytes(const std::string& name,
                                   int64_t offset,
                                   const std::byte* bytes,
                                   int64_t count) {
  Slot& slot = state_->slot(name);
  if (offset < 0 || count < 0 || offset > slot.bytes - count)
    throw Error(
        ErrorCode::internal,
        fmt::format("writer: tensor '{}' has {} bytes, got {} at {}", name, slot.bytes, count, offset));
  state_->write_bytes(slot, offset, bytes, count);
}

void CheckpointWriter::copy_tensor(const Checkpoint& from, const std::string& name, const std::string& as) {
  Slot& slot = state_->slot(as);
  const TensorInfo info = from.info(name);
  if (info.dtype != slot.plan.dtype || info.shape != slot.plan.shape)
    throw Error(ErrorCode::internal,
                fmt::format("writer: tensor '{}' is planned as {} {}, its source is {} {}", as,
                            to_string(slot.plan.shape), dtype_name(slot.plan.dtype), to_string(info.shape),
                            dtype_name(info.dtype)));
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

void CheckpointWriter::copy_file(const std::string& directory, const std::string& name) {
  const fs::path target = state_->path_of(name);
  if (fs::path(name).has_parent_path() && ::mkdir(target.parent_path().c_str(), 0777) != 0 && errno != EEXIST)
    throw Error(ErrorCode::io,
                fmt::format("{}: cannot create the folder: {}", target.parent_path().string(),
                            std::generic_category().message(errno)));
  copy_whole_file((fs::path(directory) / name).string(), target.string());
}

void CheckpointWriter::finish(const ParallelFor& parallel) {
  if (state_->finished) throw Error(ErrorCode::internal, "writer: finished twice");
  std::vector<const Slot*> slots;
  for (const auto& [name, slot] : state_->slots) slots.push_back(&slot);
  std::sort(slots.begin(), slots.end(), [](const Slot* a, const Slot* b) {
    return std::pair(a->shard, a->offset) < std::pair(b->shard, b->offset);
  });
  for (const Slot* slot : slots) state_->check_complete(*slot);

  state_->background.stop();
  for (const File& shard : state_->shards) shard.start_flush(0, 0);
  for (const File& shard : state_->shards) {
    shard.sync();
    if (state_->options.read_back && state_->options.read_back_from_disk) shard.drop_cache();
  }
  if (state_->options.read_back) {
    const auto body = [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) state_->read_back_rest(*slots[static_cast<size_t>(i)]);
    };
    parallel(static_cast<int64_t>(slots.size()), 1, body);
  }
  state_->folder.publish();
  state_->finished = true;
}

const std::string& CheckpointWriter::partial_directory() const { return state_->folder.partial(); }
const std::vector<std::string>& CheckpointWriter::notes() const { return state_->folder.notes(); }
int64_t CheckpointWriter::total_bytes() const { return state_->total_bytes; }

}  // namespace llmc
