// Every runnable CPU table against ref on the shared case list, and against itself.
#include <gtest/gtest.h>

#include "kernels/cpu/cpu_stream.h"
#include "kernels/ref/ref_table.h"
#include "tests/kernels/cases.h"

namespace foregate::testing {
namespace {

class TableTest : public ::testing::TestWithParam<std::string> {};

TEST_P(TableTest, AgreesWithRef) {
  Machine ref("ref", 1);
  Machine cpu(GetParam(), 2);
  EXPECT_TRUE(cpu.backend.fallbacks.empty());
  for (const OpCase& c : op_cases()) {
    const Floats want = c.run(ref.ops(), *ref.stream);
    expect_close(c.run(cpu.ops(), *cpu.stream), want, c.row_width, c.tolerance, c.name);
    if (HasFatalFailure()) return;
  }
}

TEST_P(TableTest, ThreadsDoNotChangeABit) {
  Machine one(GetParam(), 1);
  Machine two(GetParam(), 2);
  Machine three(GetParam(), 3);
  for (const OpCase& c : op_cases()) {
    const Floats want = c.run(one.ops(), *one.stream);
    expect_same_bits(c.run(two.ops(), *two.stream), want, c.name + ", 2 threads");
    expect_same_bits(c.run(three.ops(), *three.stream), want, c.name + ", 3 threads");
  }
}

// The stream keeps the name of the table whose code last ran on it.
TEST_P(TableTest, RunsItsOwnCode) {
  Machine cpu(GetParam(), 1);
  auto& stream = static_cast<CpuStream&>(*cpu.stream);
  const std::string name = "cpu-" + GetParam();
  EXPECT_EQ(cpu.ops().name, name);
  const OpTable& ref = ref_table();
  for (const OpCase& c : op_cases()) {
    stream.note("nobody");
    c.run(cpu.ops(), stream);
    EXPECT_EQ(stream.last_table(), name) << c.name;
  }
  stream.note("nobody");
  op_cases().front().run(ref, stream);
  EXPECT_STREQ(stream.last_table(), "nobody");
}

INSTANTIATE_TEST_SUITE_P(Isa, TableTest, ::testing::ValuesIn(cpu_isas()), [](const auto& info) { return info.param; });

// With FMA both tables do the same operations in the same order. The generic table rounds twice per
// multiply-add and may differ in the last bits; it is held to the tolerance only.
TEST(Tables, Avx2AndAvx512GiveTheSameBits) {
  const std::vector<std::string> isas = cpu_isas();
  if (isas.front() != "avx512") GTEST_SKIP() << "needs a processor with AVX-512";
  Machine wide("avx512", 1);
  Machine narrow("avx2", 1);
  for (const OpCase& c : op_cases()) {
    expect_same_bits(c.run(narrow.ops(), *narrow.stream), c.run(wide.ops(), *wide.stream), c.name);
  }
}

TEST(Tables, ComparisonSeesAWrongTable) {
  Machine ref("ref", 1);
  Machine cpu("auto", 1);
  OpTable broken = cpu.ops();
  broken.linear = [](Stream& stream, const LinearArgs& args) {
    ref_table().linear(stream, args);
    args.y.data[0] += 1e-3f;
  };
  std::int64_t seen = 0;
  for (const OpCase& c : op_cases()) {
    seen += first_difference(c.run(broken, *cpu.stream), c.run(ref.ops(), *ref.stream)) == 0 ? 1 : 0;
  }
  EXPECT_GE(seen, 90);  // every linear case
}

}  // namespace
}  // namespace foregate::testing
