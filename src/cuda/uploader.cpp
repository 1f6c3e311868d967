#include "cuda/uploader.hpp"

#include <algorithm>
#include <cstring>

#include "cuda/check.hpp"

namespace llmc::cuda {

namespace {
constexpr size_t kPieceBytes = size_t{32} << 20;
constexpr int64_t kGrain = int64_t{1} << 20;
}  // namespace

Uploader::Uploader(DeviceHeap& heap, cudaStream_t compute, Backend& host)
    : heap_(heap),
      compute_(compute),
      host_(host) {
  check(cudaStreamCreateWithFlags(&copies_, cudaStreamNonBlocking), "cudaStreamCreate");
  check(cudaEventCreateWithFlags(&arrived_, cudaEventDisableTiming), "cudaEventCreate");
  check(cudaEventCreateWithFlags(&free_, cudaEventDisableTiming), "cudaEventCreate");
  for (Piece& piece : pieces_) {
    check(cudaMallocHost(&piece.pinned, kPieceBytes), "cudaMallocHost");
    check(cudaEventCreateWithFlags(&piece.read, cudaEventDisableTiming), "cudaEventCreate");
  }
}

Uploader::~Uploader() {
  if (copies_) cudaStreamSynchronize(copies_);
  for (Piece& piece : pieces_) {
    if (piece.read) cudaEventDestroy(piece.read);
    if (piece.pinned) cudaFreeHost(piece.pinned);
  }
  if (free_) cudaEventDestroy(free_);
  if (arrived_) cudaEventDestroy(arrived_);
  if (copies_) cudaStreamDestroy(copies_);
}

void Uploader::send(Tensor& to, const Backend::ReadBytes& read) {
  // The heap may have given out memory that queued work still reads.
  check(cudaEventRecord(free_, compute_), "cudaEventRecord");
  check(cudaStreamWaitEvent(copies_, free_, 0), "cudaStreamWaitEvent");
  for (size_t begin = 0, bytes = static_cast<size_t>(to.bytes()); begin < bytes; begin += kPieceBytes) {
    const size_t size = std::min(kPieceBytes, bytes - begin);
    Piece& piece = pieces_[next_];
    next_ ^= 1;
    check(cudaEventSynchronize(piece.read), "cudaEventSynchronize");
    read(static_cast<int64_t>(begin), static_cast<int64_t>(size), static_cast<std::byte*>(piece.pinned));
    check(cudaMemcpyAsync(to.data() + begin, piece.pinned, size, cudaMemcpyHostToDevice, copies_), "upload");
    check(cudaEventRecord(piece.read, copies_), "cudaEventRecord");
  }
}

Tensor Uploader::upload(const TensorView& host) {
  const std::lock_guard lock(mutex_);
  Tensor there = heap_.tensor(host.dtype, host.shape);
  send(there, [&](int64_t offset, int64_t bytes, std::byte* to) {
    host_.parallel_for(bytes, kGrain, [&](int64_t first, int64_t last) {
      std::memcpy(to + first, host.data + offset + first, static_cast<size_t>(last - first));
    });
  });
  check(cudaEventRecord(arrived_, copies_), "cudaEventRecord");
  check(cudaStreamWaitEvent(compute_, arrived_, 0), "cudaStreamWaitEvent");
  return there;
}

Tensor Uploader::fill(DType dtype, Shape shape, const Backend::ReadBytes& read) {
  // Waited for also when `read` fails: the heap must not give out memory that a copy still writes to.
  struct Arrival {
    cudaStream_t copies;
    ~Arrival() { cudaStreamSynchronize(copies); }
  };
  const std::lock_guard lock(mutex_);
  Tensor there = heap_.tensor(dtype, std::move(shape));
  const Arrival arrival{copies_};
  send(there, read);
  return there;
}

}  // namespace llmc::cuda
