#include "core/files/read_back.hpp"

#include <utility>

#include "core/files/checksum.hpp"

namespace llmc {

void read_back(const WrittenPiece& piece,
               std::vector<std::byte>& memory,
               const std::function<void(const WrittenPiece&)>& differs) {
  if (memory.size() < static_cast<size_t>(piece.bytes)) memory.resize(static_cast<size_t>(piece.bytes));
  piece.file->read_at(piece.offset, memory.data(), piece.bytes);
  if (checksum(memory.data(), piece.bytes) != piece.sum) differs(piece);
}

BackgroundReadBack::BackgroundReadBack(int64_t lag, bool from_disk, Callback differs, Callback done)
    : from_disk_(from_disk),
      differs_(std::move(differs)),
      done_(std::move(done)),
      queue_(ByteQueue::kNoBound, lag) {}

void BackgroundReadBack::add(const WrittenPiece& piece) {
  // No thread to be had: the piece is left to the caller, as those that stop() drops.
  queue_.add(piece.bytes, [this, piece] { read_again(piece); });
}

void BackgroundReadBack::read_again(const WrittenPiece& piece) {
  if (from_disk_) {
    piece.file->flush(piece.offset, piece.bytes);
    piece.file->drop_cache(piece.offset, piece.bytes);
  }
  read_back(piece, memory_, differs_);
  done_(piece);
}

void BackgroundReadBack::stop() { queue_.stop(); }

}  // namespace llmc
