// Choosing a backend: names, forced choices, threads, memory.
#include "kernels/registry/registry.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "kernels/cpu/cores.h"
#include "kernels/cpu/cpu_device.h"
#include "kernels/cpu/isa.h"
#include "kernels/cpu/tables.h"

namespace foregate::testing {
namespace {

TEST(Registry, AutoTakesTheBestRunnable) {
  std::string error;
  const std::vector<std::string> isas = runnable_isas();
  ASSERT_GE(isas.size(), 2u);
  EXPECT_EQ(isas.back(), "ref");
  EXPECT_EQ(isas[isas.size() - 2], "generic");
  const Backend backend = make_backend({}, &error);
  ASSERT_NE(backend.device, nullptr) << error;
  EXPECT_EQ(backend.isa, isas.front());
  EXPECT_EQ(backend.threads, usable_cores(count_cores()));
  EXPECT_NE(backend.reason.find(backend.isa), std::string::npos);
  EXPECT_NE(backend.device->describe().find(backend.isa), std::string::npos);
}

TEST(Registry, EveryRunnableIsaCanBeForced) {
  for (const std::string& isa : runnable_isas()) {
    std::string error;
    const Backend backend = make_backend({isa, 3}, &error);
    ASSERT_NE(backend.device, nullptr) << error;
    EXPECT_EQ(backend.isa, isa);
    EXPECT_EQ(backend.threads, 3);
    EXPECT_EQ(std::string(backend.ops.name), isa == "ref" ? "ref" : "cpu-" + isa);
    EXPECT_TRUE(backend.fallbacks.empty());
  }
}

TEST(Registry, RefusesWhatItCannotRun) {
  std::string error;
  EXPECT_EQ(make_backend({"neon", 1}, &error).device, nullptr);
  EXPECT_NE(error.find("'neon' is not known"), std::string::npos) << error;
  EXPECT_NE(error.find("generic"), std::string::npos) << error;
  EXPECT_EQ(make_backend({"auto", -1}, &error).device, nullptr);
  EXPECT_NE(error.find("threads"), std::string::npos) << error;
  EXPECT_EQ(make_backend({"auto", 100000}, &error).device, nullptr);
  const std::vector<std::string> isas = runnable_isas();
  if (std::find(isas.begin(), isas.end(), "avx512") == isas.end()) {
    EXPECT_EQ(make_backend({"avx512", 1}, &error).device, nullptr);
    EXPECT_NE(error.find("cannot run on this machine"), std::string::npos) << error;
  }
}

TEST(Registry, TablesAreDifferentCode) {
#if defined(__x86_64__)
  EXPECT_NE(cpu_generic_table().linear, cpu_avx2_table().linear);
  EXPECT_NE(cpu_avx2_table().linear, cpu_avx512_table().linear);
  EXPECT_NE(cpu_avx2_table().attention, cpu_avx512_table().attention);
#else
  GTEST_SKIP() << "one table on this architecture";
#endif
}

TEST(Isa, Avx512ImpliesAvx2) {
  const CpuFeatures features = detect_cpu_features();
  EXPECT_TRUE(features.avx2 || !features.avx512);
#if defined(__x86_64__)
  EXPECT_EQ(features.avx2, __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"));
#endif
}

TEST(Memory, AlignedZeroFilledAndEmptyOnFailure) {
  for (const std::size_t bytes :
       {std::size_t{1}, std::size_t{63}, std::size_t{100000}, std::size_t{2} << 20, (std::size_t{5} << 20) + 7}) {
    Memory memory = allocate_host(bytes);
    ASSERT_TRUE(memory) << bytes;
    EXPECT_EQ(memory.bytes(), bytes);
    const std::uintptr_t at = reinterpret_cast<std::uintptr_t>(memory.data());
    EXPECT_EQ(at % (bytes >= (std::size_t{2} << 20) ? std::size_t{2} << 20 : 64), 0u);
    EXPECT_TRUE(std::all_of(memory.data(), memory.data() + bytes, [](std::byte b) { return b == std::byte{0}; }));
    std::memset(memory.data(), 1, bytes);
  }
  EXPECT_FALSE(allocate_host(0));
  EXPECT_FALSE(allocate_host(SIZE_MAX));
  EXPECT_FALSE(allocate_host(SIZE_MAX / 2));
  EXPECT_FALSE(allocate_host(std::size_t{1} << 46));
}

}  // namespace
}  // namespace foregate::testing
