// Products by cuBLASLt, over its double: the linear cases of the shared list against ref, slices, graphs, the rule, and
// what a mistake in leading dimensions, a lost part, a refusal and a failure look like.
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "kernels/cuda/cuda_device.h"
#include "kernels/cuda/cuda_stream.h"
#include "kernels/cuda/cuda_table.h"
#include "kernels/cuda/library_products.h"
#include "kernels/ref/ref_table.h"
#include "tests/cuda_host/emulator.h"
#include "tests/cuda_host/host_table.h"
#include "tests/kernels/cases.h"

namespace foregate::testing {
namespace {

enum Fault { kNone, kWrongStride, kLostPart, kRefuse, kFail };

// That of the activations' parts; sums of bf16 products alone would be 2^-9 off.
constexpr double kPartsTolerance = 2e-5;

void plant(Fault fault) {
  void* library = dlopen(FOREGATE_FAKE_CUBLASLT, RTLD_NOW | RTLD_LOCAL);
  ASSERT_NE(library, nullptr) << dlerror();
  reinterpret_cast<void (*)(int)>(dlsym(library, "fake_cublaslt_fault"))(fault);
}

class CublasLt : public ::testing::Test {
 protected:
  void SetUp() override {
    emu::clear_faults();
    emu::forget_errors();
    emu::set_seed(1);
    plant(kNone);
  }
  void TearDown() override {
    plant(kNone);
    emu::forget_errors();
  }

  std::unique_ptr<LibraryProducts> open(LibraryRule rule) {
    std::string error;
    auto library = LibraryProducts::open(rule, &error);
    EXPECT_NE(library, nullptr) << error;
    return library;
  }
};

bool takes(const OpCase& c) {
  return c.name.rfind("linear", 0) == 0 &&
         (c.name.find(" f16 ") != std::string::npos || c.name.find(" bf16 ") != std::string::npos);
}

double error_of(const OpCase& c, const Floats& got) {
  CudaStream unused;
  const Floats want = c.run(ref_table(), unused);
  const auto width = static_cast<std::size_t>(c.row_width);
  double worst = 0;
  for (std::size_t row = 0; row < want.size(); row += width) {
    double largest = 1e-30, off = 0;
    for (std::size_t i = row; i < row + width; ++i) {
      largest = std::max<double>(largest, std::fabs(want[i]));
      off = std::isfinite(got[i]) ? std::max<double>(off, std::fabs(static_cast<double>(got[i]) - want[i])) : INFINITY;
    }
    worst = std::max(worst, off / largest);
  }
  return worst;
}

// All cases that it takes, or those that are quick; the largest error.
double run_cases(LibraryProducts& library, int* ran, bool quick = true) {
  double worst = 0;
  *ran = 0;
  for (const OpCase& c : op_cases()) {
    if (!takes(c) || (quick && c.name.rfind("linear 600", 0) == 0)) continue;
    CudaStream stream(&library);
    const Floats got = c.run(cuda_host_table(), stream);
    EXPECT_EQ(stream.failure(), nullptr) << c.name << ": " << stream.failure();
    worst = std::max(worst, error_of(c, got));
    ++*ran;
  }
  return worst;
}

TEST_F(CublasLt, AgreesWithRef) {
  const auto library = open({.least_rows = 1});
  int ran = 0;
  EXPECT_LE(run_cases(*library, &ran, false), kPartsTolerance);
  const LibraryFigures figures = library->figures();
  EXPECT_EQ(figures.products, static_cast<std::uint64_t>(ran));
  EXPECT_EQ(figures.refused, 0u);
  EXPECT_GE(ran, 60);
  std::printf("%d products of %llu shapes by cuBLASLt %s\n", ran, static_cast<unsigned long long>(figures.shapes),
              library->version().c_str());
}

TEST_F(CublasLt, SlicesOfWeightsAgreeToo) {
  const auto library = open({.least_rows = 1, .slice_bytes = 4096});
  int ran = 0;
  EXPECT_LE(run_cases(*library, &ran), kPartsTolerance);
  EXPECT_EQ(library->figures().products, static_cast<std::uint64_t>(ran));
  EXPECT_GT(emu::counters().library_calls, 3u * static_cast<std::uint64_t>(ran)) << "nothing was cut";
}

// Bits of a product with as many rows do not depend on when, and the rule is the rule.
TEST_F(CublasLt, TakesWhatTheRuleSays) {
  const auto library = open({.least_rows = 12});
  std::uint64_t taken = 0;
  for (const OpCase& c : op_cases()) {
    if (c.name.rfind("linear", 0) != 0 || c.name.find("linear 600") == 0 || c.name.find("linear 530") == 0) continue;
    CudaStream stream(library.get());
    c.run(cuda_host_table(), stream);
    const bool should = takes(c) && std::atoi(c.name.c_str() + 7) >= 12;
    taken += should ? 1 : 0;
    ASSERT_EQ(library->figures().products, taken) << c.name;
  }
  EXPECT_GT(taken, 10u);
}

struct Dense {
  static constexpr std::int64_t kRows = 20, kCols = 70, kOutputs = 50;
  Dense(CudaStream& stream, WeightFormat format) : stream_(stream) {
    Random random(5);
    weight = random_packed(random, kOutputs, kCols, format);
    x = random.floats(kRows * kCols);
    y.resize(kRows * kOutputs);
  }
  void run() {
    cuda_table().linear(stream_, {weight.weight(), nullptr, view(std::as_const(x), kCols), view(y, kOutputs), false});
  }
  CudaStream& stream_;
  Packed weight;
  Floats x, y;
};

// Calls of the library are put off and captured like kernels, and the second time they are a graph.
TEST_F(CublasLt, RunsInGraphs) {
  for (const WeightFormat format : {WeightFormat::kBF16, WeightFormat::kF16}) {
    const auto library = open({.least_rows = 1});
    CudaStream stream(library.get());
    Dense dense(stream, format);
    dense.run();
    stream.synchronize();
    const Floats want = dense.y;
    for (int step = 0; step < 3; ++step) {
      std::fill(dense.y.begin(), dense.y.end(), -1.0f);
      stream.collect();
      dense.run();
      const std::uint64_t graphs = emu::counters().graph_launches;
      const std::uint64_t calls = emu::counters().library_calls;
      stream.synchronize();
      ASSERT_EQ(stream.failure(), nullptr) << stream.failure();
      EXPECT_EQ(dense.y, want) << step;
      EXPECT_EQ(emu::counters().graph_launches - graphs, step == 0 ? 0u : 1u);
      EXPECT_EQ(emu::counters().library_calls - calls, format == WeightFormat::kF16 ? 3u : 2u);
    }
    EXPECT_EQ(library->figures().shapes, 1u);  // asked once
  }
}

TEST_F(CublasLt, MistakesShow) {
  const auto library = open({.least_rows = 1});
  int ran = 0;
  for (const Fault fault : {kWrongStride, kLostPart}) {
    plant(fault);
    EXPECT_GT(run_cases(*library, &ran), 10 * kPartsTolerance) << fault;
  }
}

// Where the library knows no way the kernels here do it, and the figures say so.
TEST_F(CublasLt, WhatItRefusesIsDoneHere) {
  plant(kRefuse);
  const auto library = open({.least_rows = 1});
  int ran = 0;
  EXPECT_LE(run_cases(*library, &ran), kPartsTolerance);
  EXPECT_EQ(library->figures().products, 0u);
  EXPECT_EQ(library->figures().refused, static_cast<std::uint64_t>(ran));
}

TEST_F(CublasLt, AFailureStaysWithTheStream) {
  const auto library = open({.least_rows = 1});
  for (const bool collected : {false, true}) {
    CudaStream stream(library.get());
    Dense dense(stream, WeightFormat::kBF16);
    plant(kFail);
    if (collected) stream.collect();
    dense.run();
    stream.synchronize();
    ASSERT_NE(stream.failure(), nullptr);
    plant(kNone);
  }
}

TEST_F(CublasLt, ADeviceSaysWhatIsMissing) {
  std::string error;
  CudaDevice without;
  ASSERT_TRUE(without.open({.library_rows = 1, .library = "/nowhere/libcublasLt.so"}, &error)) << error;
  EXPECT_NE(without.library_missing().find("/nowhere"), std::string::npos) << without.library_missing();
  EXPECT_NE(without.describe().find("no cuBLASLt"), std::string::npos) << without.describe();
  CudaDevice off;
  ASSERT_TRUE(off.open({}, &error)) << error;
  EXPECT_TRUE(off.library_missing().empty());
  CudaDevice with;
  ASSERT_TRUE(with.open({.library_rows = 1}, &error)) << error;
  EXPECT_NE(with.describe().find("cuBLASLt 13.0"), std::string::npos) << with.describe();
  const std::int64_t before = with.free_bytes();
  const auto stream = with.create_stream();
  EXPECT_TRUE(stream->plan_products(512, 4096, 151936));
  EXPECT_LT(with.free_bytes(), before - (std::int64_t{64} << 20)) << "the memory was not taken";
  emu::fail_calls("cudaMalloc", 2, 0);
  EXPECT_FALSE(with.create_stream()->plan_products(512, 4096, 151936));
}

}  // namespace
}  // namespace foregate::testing
