#include "kernels/cuda/cuda_stream.h"

#include <algorithm>
#include <cstring>

#include "kernels/cuda/library_products.h"

namespace foregate {

// A piece of pinned memory that copies go through; free again once the copy is done.
struct CudaStream::Pinned {
  std::byte* data = nullptr;
  std::size_t bytes = 0;
  cudaEvent_t copied = nullptr;
};

namespace {
constexpr std::size_t kPinnedPieces = 8;
constexpr std::size_t kPinnedBytes = 1 << 20;

std::size_t room_for(std::size_t bytes) {
  std::size_t room = 256;
  while (room < bytes) room *= 2;
  return room;
}
}  // namespace

CudaStream::CudaStream(LibraryProducts* library) : library_(library) {
  check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "creating a stream");
}

CudaStream::~CudaStream() {
  if (stream_ != nullptr) {
    cudaStreamSynchronize(stream_);
    cudaStreamDestroy(stream_);
  }
  for (const Pinned& piece : pinned_) {
    cudaEventDestroy(piece.copied);
    cudaFreeHost(piece.data);
  }
  for (const Staged& array : staged_) cudaFree(array.device);
  cudaFree(workspace_);
}

bool CudaStream::check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return true;
  if (failure_.empty()) failure_ = std::string("CUDA: ") + what + ": " + cudaGetErrorString(error);
  return false;
}

void CudaStream::flush() {
  if (!graphs_.empty()) check(graphs_.run(stream_), "kernels of a step");
  for (Staged& staged : staged_) staged.used = false;
}

void CudaStream::end_collecting() {
  flush();
  collecting_ = false;
}

void CudaStream::synchronize() {
  end_collecting();
  check(cudaStreamSynchronize(stream_), "waiting for the device");
}

// The pieces in turn: waiting for the oldest copy is waiting for the one that is done first.
CudaStream::Pinned* CudaStream::pinned_for(std::size_t bytes) {
  if (pinned_.size() == kPinnedPieces) {
    std::rotate(pinned_.begin(), pinned_.begin() + 1, pinned_.end());
    check(cudaEventSynchronize(pinned_.back().copied), "waiting for a copy");
  } else {
    pinned_.emplace_back();
    check(cudaEventCreateWithFlags(&pinned_.back().copied, cudaEventDisableTiming), "creating an event");
  }
  Pinned& piece = pinned_.back();
  if (piece.bytes < bytes) {
    if (piece.data != nullptr) cudaFreeHost(piece.data);
    piece.bytes = 0;
    piece.data = nullptr;
    void* data = nullptr;
    if (!check(cudaHostAlloc(&data, room_for(bytes), cudaHostAllocDefault), "pinned host memory")) return nullptr;
    piece.data = static_cast<std::byte*>(data);
    piece.bytes = room_for(bytes);
  }
  return &piece;
}

void CudaStream::copy_through_pinned(void* to_device, const void* from_host, std::size_t bytes) {
  auto* to = static_cast<std::byte*>(to_device);
  const auto* from = static_cast<const std::byte*>(from_host);
  while (bytes > 0 && failure() == nullptr) {
    const std::size_t part = std::min(bytes, kPinnedBytes);
    Pinned* piece = pinned_for(part);
    if (piece == nullptr || failure() != nullptr) return;
    std::memcpy(piece->data, from, part);
    check(cudaMemcpyAsync(to, piece->data, part, cudaMemcpyHostToDevice, stream_), "copy to the device");
    check(cudaEventRecord(piece->copied, stream_), "recording an event");
    to += part;
    from += part;
    bytes -= part;
  }
}

void CudaStream::upload(void* to_device, const void* from_host, std::size_t bytes) {
  flush();
  copy_through_pinned(to_device, from_host, bytes);
}

void CudaStream::upload_pinned(void* to_device, const void* from_pinned, std::size_t bytes) {
  flush();
  if (bytes == 0 || failure() != nullptr) return;
  check(cudaMemcpyAsync(to_device, from_pinned, bytes, cudaMemcpyHostToDevice, stream_), "copy to the device");
}

void CudaStream::download(void* to_host, const void* from_device, std::size_t bytes) {
  end_collecting();
  if (bytes == 0 || failure() != nullptr) return;
  check(cudaMemcpyAsync(to_host, from_device, bytes, cudaMemcpyDeviceToHost, stream_), "copy to the host");
}

void CudaStream::copy(void* to, const void* from, std::size_t bytes) {
  end_collecting();
  if (bytes == 0 || failure() != nullptr) return;
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream_), "copy within the device");
}

const void* CudaStream::stage_bytes(ControlList list, const void* host, std::size_t bytes) {
  if (bytes == 0 || failure() != nullptr) return nullptr;
  Staged& staged = staged_[static_cast<std::size_t>(list)];
  const bool there = staged.contents.size() == bytes && std::memcmp(staged.contents.data(), host, bytes) == 0;
  if (there) {
    staged.used = collecting_;
    return staged.device;
  }
  if (staged.used) flush();  // before its readers lose what they are to read
  if (staged.capacity < bytes) {
    cudaFree(staged.device);  // waits for what still reads it
    staged = {};
    if (!check(cudaMalloc(&staged.device, room_for(bytes)), "device memory of a list")) return nullptr;
    staged.capacity = room_for(bytes);
  }
  const auto* from = static_cast<const std::byte*>(host);
  staged.contents.assign(from, from + bytes);
  copy_through_pinned(staged.device, host, bytes);
  staged_bytes_ += bytes;
  staged.used = collecting_;
  return staged.device;
}

std::byte* CudaStream::reserve(std::size_t bytes) {
  if (failure() != nullptr) return nullptr;
  if (workspace_bytes_ < bytes) {
    flush();
    cudaFree(workspace_);
    workspace_ = nullptr;
    workspace_bytes_ = 0;
    if (!check(cudaMalloc(&workspace_, room_for(bytes)), "device memory of an op")) return nullptr;
    workspace_bytes_ = room_for(bytes);
  }
  return static_cast<std::byte*>(workspace_);
}

bool CudaStream::plan_products(std::int64_t rows, std::int64_t cols, std::int64_t outputs) {
  if (library_ == nullptr || rows < library_->rule().least_rows) return true;
  return reserve(library_->workspace_bytes(rows, cols, outputs)) != nullptr;
}

CudaEvent::CudaEvent() {
  if (cudaEventCreateWithFlags(&event_, cudaEventDisableTiming) != cudaSuccess) event_ = nullptr;
}

CudaEvent::~CudaEvent() {
  if (event_ != nullptr) cudaEventDestroy(event_);
}

void CudaEvent::record(Stream& stream) {
  recorded_ = static_cast<CudaStream*>(&stream);
  recorded_->flush();
  const bool made = event_ != nullptr;
  recorded_->check(made ? cudaEventRecord(event_, recorded_->stream_) : cudaErrorMemoryAllocation,
                   "recording an event");
}

void CudaEvent::hold(Stream& stream) {
  if (recorded_ == nullptr) return;
  auto& cuda = static_cast<CudaStream&>(stream);
  cuda.flush();
  cuda.check(cudaStreamWaitEvent(cuda.stream_, event_, 0), "waiting for an event");
}

cudaError_t CudaEvent::hold(cudaStream_t stream) const {
  return recorded_ == nullptr ? cudaSuccess : cudaStreamWaitEvent(stream, event_, 0);
}

void CudaEvent::wait() {
  if (recorded_ != nullptr) recorded_->check(cudaEventSynchronize(event_), "waiting for an event");
}

}  // namespace foregate
