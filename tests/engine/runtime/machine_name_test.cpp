#include "engine/runtime/machine_name.h"

#include <gtest/gtest.h>

namespace foregate {
namespace {

TEST(MachineName, TakesTheProcessorFromCpuinfo) {
  EXPECT_EQ(processor_name("processor\t: 0\nmodel name\t: A Chip @ 3 GHz\nflags\t: a b\n\nmodel name\t: B\n"),
            "A Chip @ 3 GHz");
  EXPECT_EQ(processor_name("model name : First line"), "First line");
  EXPECT_EQ(processor_name("processor: 1\nCPU part : 0xd0c\n"), "unknown processor");
  EXPECT_EQ(processor_name("\nmodel name\t:"), "unknown processor");
  EXPECT_EQ(processor_name(""), "unknown processor");
}

TEST(MachineName, DependsOnKernelsAndThreads) {
  EXPECT_NE(machine_name("avx2", 2), machine_name("avx512", 2));
  EXPECT_NE(machine_name("avx2", 2), machine_name("avx2", 1));
  EXPECT_EQ(machine_name("avx2", 2), machine_name("avx2", 2));
}

}  // namespace
}  // namespace foregate
