// A transformer on the CUDA backend in emulation: equal bits alone, in a batch and in chunks. Its weights, scratch and
// cache lie in device memory, which the host cannot touch. (Golden models: tests/gpu/gpu_golden.cpp over the same
// module.)
#include <gtest/gtest.h>

#include "tests/cuda_host/emulated_module.h"
#include "tests/engine/model/driver.h"

namespace foregate {
namespace {

using namespace testing_support;

DriverOptions on_cuda() {
  DriverOptions options;
  options.isa = "auto";
  options.cuda_module = cuda_host_module();
  return options;
}

TEST(CudaModel, AloneInABatchAndInChunksAreTheSameBits) {
  const std::uint64_t launches = module_launches();
  Driver driver(golden_dir("qwen3-moe-top4-norm"), on_cuda());
  std::vector<Token> first, second;
  for (int i = 0; i < 41; ++i) first.push_back(5 + i * 7 % 60);
  for (int i = 0; i < 9; ++i) second.push_back(3 + i * 11 % 60);
  const auto whole = driver.run(first, first.size());
  EXPECT_EQ(driver.run(first, 7), whole);
  EXPECT_EQ(driver.run(first, 1), whole);
  const auto other = driver.run(second, second.size());
  driver.reset();
  const int a = driver.add_sequence();
  const int b = driver.add_sequence();
  auto both = driver.step({{b, second}, {a, first}});
  EXPECT_EQ(std::vector(both.begin(), both.begin() + 9), other);
  EXPECT_EQ(std::vector(both.begin() + 9, both.end()), whole);
  EXPECT_GT(module_launches(), launches + 100);
}

// Decode steps that were seen before run as graphs: the same bits, and the host waits once a step.
TEST(CudaModel, DecodeStepsAsGraphsAreTheSameBits) {
  reset_module();
  DriverOptions eager = on_cuda();
  eager.eager = true;
  Driver plain(golden_dir("qwen3-moe-top4-norm"), eager);
  Driver driver(golden_dir("qwen3-moe-top4-norm"), on_cuda());
  const auto decode = [](Driver& model, int sequences, int steps) {
    model.reset();
    std::vector<int> ids;
    for (int s = 0; s < sequences; ++s) ids.push_back(model.add_sequence());
    std::vector<std::vector<float>> all;
    for (int i = 0; i < steps; ++i) {
      std::vector<Driver::Part> parts;
      for (const int id : ids) parts.push_back({id, {static_cast<Token>(3 + (i * 7 + id * 5) % 60)}});
      for (auto& row : model.step(parts)) all.push_back(std::move(row));
    }
    return all;
  };
  for (const int sequences : {1, 3, 1, 2}) {
    const std::uint64_t before = driver.model().collected_steps();
    EXPECT_EQ(decode(driver, sequences, 12), decode(plain, sequences, 12));
    EXPECT_GE(driver.model().collected_steps(), before + 8);
  }
  EXPECT_EQ(plain.model().collected_steps(), 0u);
  EXPECT_GT(module_graph_launches(), 40u);
  decode(driver, 2, 4);
  const std::uint64_t waits = module_waits();
  const auto steps = decode(driver, 2, 5);
  EXPECT_EQ(module_waits(), waits + 5) << "the host waits within a step";
}

// Dense products by cuBLASLt (its double): the same tokens, of prompts and of decode steps that run as graphs.
TEST(CudaModel, ProductsByALibraryKeepTheTokens) {
  reset_module();
  const std::vector<Token> prompt = {5, 9, 11, 40, 23, 7};
  for (const char* name : {"qwen3-moe-top4-norm", "qwen2-moe-shared-top4"}) {
    Driver plain(golden_dir(name), on_cuda());
    DriverOptions options = on_cuda();
    options.library_rows = 1;
    Driver driver(golden_dir(name), options);
    EXPECT_EQ(greedy_tokens(driver, prompt, 12), greedy_tokens(plain, prompt, 12));
    const LibraryFigures figures = driver.device().library_figures();
    EXPECT_GT(figures.products, 12u * 4) << name;
    EXPECT_EQ(figures.refused, 0u);
    EXPECT_GT(driver.model().collected_steps(), 0u);
    EXPECT_EQ(plain.device().library_figures().products, 0u);
  }
}

}  // namespace
}  // namespace foregate
