// The emulated thread grid: where a thread is, and what it does together with others. Every CUDA thread of a block is a
// fiber that runs until it meets others (barrier, shuffle, matrix instruction); who goes first is drawn from the seed.
// Included by cuda_runtime.h alone.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace foregate::emu {

struct Lane {
  dim3 thread;
  unsigned lane = 0;
  unsigned warp = 0;
};
extern Lane* g_here;  // the thread that runs now

// Shared memory of the block that runs, as large as its launch asked for; filled with a pattern of NaNs.
void* shared_memory();

// `file` and `line` tell a barrier from the others.
void block_barrier(const char* file, int line);
void warp_barrier(unsigned mask, const char* file, int line);

// Every lane of `mask` brings a pointer; the last one to come runs `act` over all of them (null for absent lanes).
using WarpAct = void (*)(void* const* lanes);
void warp_meet(unsigned mask, void* mine, WarpAct act);

struct Shuffle {
  std::uint64_t value = 0x7ff7deadbeefdeadull;
  int from = 0;  // lane
  std::uint64_t got = 0;
};
void shuffle(unsigned mask, Shuffle& mine);
struct Vote {
  bool yes = false;
  unsigned ballot = 0;
};
unsigned vote(unsigned mask, bool yes);

// cp.async: the copy happens some time before the wait for its group ends, sooner or later by the seed.
void copy_async(void* to, const void* from, std::size_t bytes);
void copy_commit();
void copy_wait(unsigned groups_left);

template <class T>
T shuffled(unsigned mask, T value, int from) {
  static_assert(sizeof(T) <= sizeof(std::uint64_t));
  Shuffle mine;
  mine.value = 0;
  std::memcpy(&mine.value, &value, sizeof(T));
  mine.from = from;
  shuffle(mask, mine);
  std::memcpy(&value, &mine.got, sizeof(T));
  return value;
}

}  // namespace foregate::emu

// Of the thread that runs now: set by the scheduler.
extern dim3 threadIdx, blockIdx, blockDim, gridDim;

inline void __syncthreads(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  foregate::emu::block_barrier(file, line);
}
inline void __syncwarp(unsigned mask = 0xffffffffu, const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  foregate::emu::warp_barrier(mask, file, line);
}
template <class T>
T __shfl_sync(unsigned mask, T value, int from) {
  return foregate::emu::shuffled(mask, value, from & 31);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lanes) {
  return foregate::emu::shuffled(mask, value, static_cast<int>(foregate::emu::g_here->lane) ^ lanes);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned lanes) {
  const int from = static_cast<int>(foregate::emu::g_here->lane + lanes);
  return foregate::emu::shuffled(mask, value, from < 32 ? from : static_cast<int>(foregate::emu::g_here->lane));
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned lanes) {
  const int from = static_cast<int>(foregate::emu::g_here->lane) - static_cast<int>(lanes);
  return foregate::emu::shuffled(mask, value, from >= 0 ? from : static_cast<int>(foregate::emu::g_here->lane));
}
inline unsigned __ballot_sync(unsigned mask, int yes) {
  return foregate::emu::vote(mask, yes != 0);
}
inline int __any_sync(unsigned mask, int yes) {
  return foregate::emu::vote(mask, yes != 0) != 0;
}

// One fiber runs at a time, so plain updates are atomic.
template <class T>
T atomicAdd(T* at, T value) {
  const T old = *at;
  *at = old + value;
  return old;
}
template <class T>
T atomicMax(T* at, T value) {
  const T old = *at;
  *at = std::max(old, value);
  return old;
}
inline void __threadfence() {}
template <class T>
T __ldg(const T* at) {
  return *at;
}

inline int __popc(unsigned bits) {
  return __builtin_popcount(bits);
}
inline int __ffs(int bits) {
  return __builtin_ffs(bits);
}
inline unsigned __float_as_uint(float value) {
  unsigned bits;
  std::memcpy(&bits, &value, 4);
  return bits;
}
inline float __uint_as_float(unsigned bits) {
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}
inline float __expf(float x) {
  return std::exp(x);
}
using std::isfinite;
using std::max;
using std::min;
inline float __fmul_rn(float a, float b) {
  return a * b;
}
inline float __fadd_rn(float a, float b) {
  return a + b;
}
