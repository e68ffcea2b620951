// What the engine knows of a compute device: memory, a stream of ops, synchronisation.
// No CUDA types. On the CPU, a call on a stream runs at once on the stream's thread pool.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>

namespace foregate {

// Opaque to callers; every backend derives its own. Ops take it as their first argument.
class Stream {
 public:
  virtual ~Stream() = default;
  virtual void synchronize() = 0;
  // Copies in the order of the stream's ops. The source of an upload is free again once the call returns; what is
  // downloaded is there after synchronize().
  virtual void upload(void* to_device, const void* from_host, std::size_t bytes) {
    __builtin_memcpy(to_device, from_host, bytes);
  }
  virtual void download(void* to_host, const void* from_device, std::size_t bytes) {
    __builtin_memcpy(to_host, from_device, bytes);
  }
  // As upload(), without a copy in between: the source is memory of Device::allocate_pinned() and stays as it is until
  // the copy is done.
  virtual void upload_pinned(void* to_device, const void* from_pinned, std::size_t bytes) {
    upload(to_device, from_pinned, bytes);
  }
  // Within the device's memory.
  virtual void copy(void* to, const void* from, std::size_t bytes) { __builtin_memcpy(to, from, bytes); }
  // Ops given from here on until synchronize(), download() or copy() may be put off until then and be given to the
  // device as one, which is quicker when the same were given before: same shapes, same places in memory. What they
  // compute does not change. Uploads among them are done at once, so they are for before the first op.
  virtual void collect() {}
  virtual std::uint64_t collected() const { return 0; }  // how often ops were given to the device as one
  // Takes the memory that products of so many rows need now, with matrices of `cols` columns and `outputs` rows at
  // most, so that what is free afterwards may go to others. False when it is not there.
  virtual bool plan_products(std::int64_t rows, std::int64_t cols, std::int64_t outputs) {
    static_cast<void>(rows), static_cast<void>(cols), static_cast<void>(outputs);
    return true;
  }
  // Null while all is well. Otherwise why the device no longer computes: results since then are worth nothing, and
  // it stays so. Asked after synchronize().
  virtual const char* failure() const { return nullptr; }
};

// Products that a library of the device's maker computed.
struct LibraryFigures {
  std::uint64_t products = 0;  // ops that it did
  std::uint64_t refused = 0;   // that it should have done and knows no way for: done as others are
  std::uint64_t shapes = 0;    // that it was asked how to do
};

// A point in the work of a stream, for others to wait for. On the CPU ops are done when their call returns, so nothing
// waits.
class Event {
 public:
  virtual ~Event() = default;
  virtual void record(Stream&) {}  // the ops that the stream was given so far
  virtual void hold(Stream&) {}    // ops that the stream is given from now on begin after those recorded are done
  virtual void wait() {}           // so does the caller
};

// Owning, move-only device buffer. data() is null for an empty or failed allocation.
class Memory {
 public:
  using Release = void (*)(void* data, std::size_t bytes);
  Memory() = default;
  Memory(void* data, std::size_t bytes, Release release) : data_(data), bytes_(bytes), release_(release) {}
  Memory(Memory&& other) noexcept { swap(other); }
  Memory& operator=(Memory&& other) noexcept {
    Memory moved(static_cast<Memory&&>(other));
    swap(moved);
    return *this;
  }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  ~Memory() {
    if (data_ != nullptr) release_(data_, bytes_);
  }
  std::byte* data() const { return static_cast<std::byte*>(data_); }
  std::size_t bytes() const { return bytes_; }
  explicit operator bool() const { return data_ != nullptr; }

 private:
  void swap(Memory& other) noexcept {
    void* data = data_;
    std::size_t bytes = bytes_;
    Release release = release_;
    data_ = other.data_;
    bytes_ = other.bytes_;
    release_ = other.release_;
    other.data_ = data;
    other.bytes_ = bytes;
    other.release_ = release;
  }
  void* data_ = nullptr;
  std::size_t bytes_ = 0;
  Release release_ = nullptr;
};

class PageSource;
class Peers;
struct PeersOptions;

class Device {
 public:
  virtual ~Device() = default;
  virtual std::string describe() const = 0;  // one line for the log, e.g. "cpu avx512 2 threads"
  // 64-byte aligned, zero-filled; an empty Memory when there is not enough.
  virtual Memory allocate(std::size_t bytes) = 0;
  // Between memory of this device and of the host, in any direction; after the ops already given to its streams,
  // and done on return. The ranges must not overlap.
  virtual void copy(void* to, const void* from, std::size_t bytes) { std::memcpy(to, from, bytes); }
  // Memory of the host that the device copies from and to at full speed; otherwise as allocate().
  virtual Memory allocate_pinned(std::size_t bytes) { return allocate(bytes); }
  // Whether the host reads and writes what allocate() gives; otherwise bytes pass through Stream::upload and download.
  virtual bool host_visible() const { return true; }
  // Bytes of memory that allocate() may still give; 0 when that is for the host to know.
  virtual std::int64_t free_bytes() const { return 0; }
  virtual std::int64_t total_bytes() const { return 0; }  // of its memory; likewise
  virtual std::unique_ptr<Stream> create_stream() = 0;
  virtual LibraryFigures library_figures() const { return {}; }
  // Why products that such a library was asked for are done without it; empty: they are not.
  virtual std::string library_missing() const { return {}; }
  // Pages of this device's memory (page_source.h), which this outlives; null with *error where it has none.
  virtual std::shared_ptr<PageSource> create_pages(std::string* error) {
    *error = "the device has no pages that come and go";
    return nullptr;
  }
  virtual std::unique_ptr<Event> create_event() { return std::make_unique<Event>(); }
  // Names this device among those of all machines; empty: it cannot send to others by itself.
  virtual std::string identity() const { return {}; }
  // Other processes with a device each (peers.h), this one's ordinal filled in; null with *error where there are none.
  // They may be given to another thread.
  virtual std::shared_ptr<Peers> join_peers(const PeersOptions& options, std::string* error) {
    static_cast<void>(options);
    *error = "the device sends nothing to others";
    return nullptr;
  }
  // Why the library of that name cannot be had here; empty: it can.
  virtual std::string peers_missing(const std::string& library) const {
    static_cast<void>(library);
    return "the device sends nothing to others";
  }
  // A new PeersOptions::id, by the library of that name; false with *error.
  virtual bool name_peers(PeersOptions& options, std::string* error) {
    static_cast<void>(options);
    *error = "the device sends nothing to others";
    return false;
  }
};

}  // namespace foregate
