#include "tests/gpu/shared_new.h"

#include <bit>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <new>

namespace {

// Pieces of powers of two, each behind a header that says which; freed ones wait in a list of their size.
struct Header {
  std::uint64_t power;
  Header* next;
};
static_assert(sizeof(Header) == 16);

struct Arena {
  std::byte* begin = nullptr;
  std::byte* end = nullptr;
  std::byte* used = nullptr;
  Header* free[48] = {};
  std::mutex mutex;

  bool holds(const void* at) const { return at >= begin && at < end; }

  void* take(std::size_t bytes) {
    const std::lock_guard lock(mutex);
    const std::size_t whole = std::bit_ceil(bytes + sizeof(Header) + 48);
    const int power = std::countr_zero(whole);
    Header* header = free[power];
    if (header != nullptr) {
      free[power] = header->next;
    } else {
      if (whole > static_cast<std::size_t>(end - used)) {
        std::fputs("the memory shared with the GPU is used up\n", stderr);
        std::abort();
      }
      header = reinterpret_cast<Header*>(used);
      used += whole;
    }
    *header = {static_cast<std::uint64_t>(power), nullptr};
    return header + 1;
  }

  void give(void* at) {
    const std::lock_guard lock(mutex);
    Header* header = static_cast<Header*>(at) - 1;
    header->next = free[header->power];
    free[header->power] = header;
  }
};

Arena& arena() {
  alignas(Arena) static std::byte storage[sizeof(Arena)];
  static Arena* the = new (storage) Arena;
  return *the;
}

}  // namespace

namespace foregate::testing {

void take_new_from(void* memory, std::size_t bytes) {
  Arena& a = arena();
  a.used = static_cast<std::byte*>(memory);
  a.end = a.used + bytes;
  a.begin = a.used;
}

}  // namespace foregate::testing

void* operator new(std::size_t bytes) {
  if (arena().begin != nullptr) return arena().take(bytes);
  void* memory = std::malloc(bytes == 0 ? 1 : bytes);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
void operator delete(void* at) noexcept {
  if (at == nullptr) return;
  if (arena().holds(at)) return arena().give(at);
  std::free(at);
}
void operator delete(void* at, std::size_t) noexcept {
  operator delete(at);
}
