// Every op of the CUDA table against ref over the shared case list; equal bits across orders of threads and batch
// widths; and planted faults: each barrier left out, wrong lanes, a wrong page.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "kernels/cuda/cuda_stream.h"
#include "kernels/ref/ref_table.h"
#include "tests/cuda_host/emulator.h"
#include "tests/cuda_host/host_table.h"
#include "tests/kernels/cases.h"

namespace foregate::testing {
namespace {

// The tolerance of Args is for f32 activations; tensor cores take them as two bf16 parts, 2^-18 of a value apart.
constexpr double kPartsTolerance = 2e-5;

class CudaOps : public ::testing::Test {
 protected:
  void SetUp() override {
    emu::clear_faults();
    emu::forget_errors();
    emu::set_seed(1);
  }
  void TearDown() override {
    emu::clear_faults();
    emu::forget_errors();
  }
};

std::string op_of(const OpCase& c) {
  return c.name.substr(0, c.name.find(' '));
}

// The shared list and the ops of devices.
const std::vector<OpCase>& all_cases() {
  static const std::vector<OpCase> cases = [] {
    std::vector<OpCase> all = op_cases();
    std::erase_if(all, [](const OpCase& c) { return c.host_only; });
    all.insert(all.end(), device_cases().begin(), device_cases().end());
    return all;
  }();
  return cases;
}

double tolerance_of(const OpCase& c) {
  const std::string op = op_of(c);
  const bool parts = op == "linear" || op == "expert_ffn" || op == "moe_ffn" || op == "attention";
  return parts ? std::max(c.tolerance, kPartsTolerance) : c.tolerance;
}

bool close(const Floats& got, const Floats& want, const OpCase& c) {
  const auto width = static_cast<std::size_t>(c.row_width);
  for (std::size_t row = 0; row < want.size(); row += width) {
    double largest = 1e-30;
    for (std::size_t i = 0; i < width; ++i) largest = std::max<double>(largest, std::fabs(want[row + i]));
    for (std::size_t i = 0; i < width; ++i) {
      if (!(std::fabs(static_cast<double>(got[row + i]) - want[row + i]) <= tolerance_of(c) * largest)) return false;
    }
  }
  return true;
}

Floats run_ref(const OpCase& c) {
  CudaStream unused;
  return c.run(ref_table(), unused);
}

// A stream for each case: what a fault broke stays with it.
Floats run_cuda(const OpCase& c) {
  emu::forget_errors();
  CudaStream stream;
  Floats out = c.run(cuda_host_table(), stream);
  if (stream.failure() != nullptr) ADD_FAILURE() << c.name << ": " << stream.failure() << " " << emu::last_report();
  return out;
}

TEST_F(CudaOps, AgreeWithRef) {
  std::map<std::string, int> ran;
  for (const OpCase& c : all_cases()) {
    expect_close(run_cuda(c), run_ref(c), c.row_width, tolerance_of(c), c.name);
    if (HasFailure()) return;
    ++ran[op_of(c)];
  }
  for (const auto& [op, count] : ran) std::printf("%s: %d cases\n", op.c_str(), count);
}

// The order in which threads and blocks run changes no bit.
TEST_F(CudaOps, OrderDoesNotChangeABit) {
  int n = 0;
  for (const OpCase& c : all_cases()) {
    if (n++ % 7 != 0) continue;
    const Floats want = run_cuda(c);
    emu::set_seed(static_cast<std::uint64_t>(n) * 31);
    expect_same_bits(run_cuda(c), want, c.name);
  }
}

// Rows of one product have the same bits alone and in any batch, for every format.
TEST_F(CudaOps, RowsDoNotDependOnTheBatch) {
  constexpr std::int64_t kRows = 45, kCols = 512, kOutputs = 40;
  CudaStream stream;
  for (int f = 0; f < kWeightFormats; ++f) {
    Random random(static_cast<std::uint64_t>(f));
    const Packed weight = random_packed(random, kOutputs, kCols, static_cast<WeightFormat>(f));
    const Floats x = random.floats(kRows * kCols);
    const auto product = [&](std::int64_t first, std::int64_t rows) {
      const Floats part = rows_of(x, kCols, first, rows);
      Floats y(static_cast<std::size_t>(rows * kOutputs));
      cuda_host_table().linear(stream, {weight.weight(), nullptr, view(part, kCols), view(y, kOutputs), false});
      return y;
    };
    const Floats all = product(0, kRows);
    for (const auto& [first, rows] : {std::pair{0, 1}, {7, 3}, {3, 8}, {17, 9}, {44, 1}, {10, 32}}) {
      expect_same_bits(product(first, rows), rows_of(all, kOutputs, first, rows), format_name(weight.format));
    }
  }
}

// Cases of an op that are quick and go through all of its code.
std::vector<const OpCase*> some_cases(const std::string& op) {
  std::vector<const OpCase*> all, some;
  for (const OpCase& c : all_cases()) {
    if (op_of(c) == op && c.name.find("linear 600") == std::string::npos &&
        c.name.find("linear 530") == std::string::npos)
      all.push_back(&c);
  }
  const std::size_t step = std::max<std::size_t>(1, all.size() / 12);
  for (std::size_t i = 0; i < all.size(); i += step) some.push_back(all[i]);
  return some;
}

// True when some case no longer agrees with ref. Runs in a process of its own, since a fault may read anywhere.
bool fault_shows(const std::string& op, const std::vector<Floats>& want) {
  const pid_t child = fork();
  if (child == 0) {
    std::freopen("/dev/null", "w", stderr);
    std::freopen("/dev/null", "w", stdout);
    for (std::uint64_t seed = 1; seed <= 3; ++seed) {
      emu::set_seed(seed);
      const std::vector<const OpCase*> cases = some_cases(op);
      for (std::size_t i = 0; i < cases.size(); ++i) {
        if (!close(run_cuda(*cases[i]), want[i], *cases[i])) _exit(1);
      }
    }
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return !(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

std::vector<Floats> wanted(const std::string& op) {
  std::vector<Floats> want;
  for (const OpCase* c : some_cases(op)) want.push_back(run_ref(*c));
  return want;
}

const char* const kFamilies[] = {"rms_norm",   "head_norm", "linear",    "router",
                                 "expert_ffn", "moe_ffn",   "attention", "sample"};

// Every barrier of every kernel is there because results are wrong without it.
TEST_F(CudaOps, EachMissingBarrierShows) {
  int barriers = 0;
  for (const char* op : kFamilies) {
    const std::vector<Floats> want = wanted(op);
    emu::forget_barriers();
    for (const OpCase* c : some_cases(op)) run_cuda(*c);
    const std::vector<emu::Site> sites = emu::barriers_seen();
    EXPECT_FALSE(fault_shows(op, want)) << op << " without a fault";
    for (const emu::Site& site : sites) {
      emu::skip_barrier(site);
      EXPECT_TRUE(fault_shows(op, want)) << op << ": nothing shows that the barrier of " << site.file << ":"
                                         << site.line << " is missing";
      emu::clear_faults();
      ++barriers;
    }
  }
  std::printf("%d barriers left out\n", barriers);
  EXPECT_GE(barriers, 4);
}

TEST_F(CudaOps, WrongLanesShow) {
  for (const char* op : kFamilies) {
    const std::vector<Floats> want = wanted(op);
    emu::turn_shuffles(1);
    EXPECT_TRUE(fault_shows(op, want)) << op;
    emu::clear_faults();
  }
}

// A thread or a block that is missing, as a grid that was rounded down would have it.
TEST_F(CudaOps, MissingThreadsAndBlocksShow) {
  std::set<std::string> ops;
  for (const OpCase& c : all_cases()) ops.insert(op_of(c));
  EXPECT_EQ(ops.size(), 15u);
  for (const std::string& op : ops) {
    const std::vector<Floats> want = wanted(op);
    emu::lose_threads();
    EXPECT_TRUE(fault_shows(op, want)) << op << ": a lost thread";
    emu::clear_faults();
    emu::shorten_grids();
    EXPECT_TRUE(fault_shows(op, want)) << op << ": a lost block";
    emu::clear_faults();
  }
}

template <class T>
std::vector<T> turned(const T* from, std::int64_t count) {
  std::vector<T> values(from, from + count);
  std::rotate(values.begin(), values.begin() + 1, values.end());
  return values;
}

// Ops whose kernels meet nobody, off by one: the next token, row, slot or weight, a last row that is left out.
TEST_F(CudaOps, OffByOneShows) {
  OpTable broken = cuda_host_table();
  broken.embed = [](Stream& stream, const EmbedArgs& args) {
    const auto tokens = turned(args.tokens, args.out.rows);
    EmbedArgs wrong = args;
    wrong.tokens = tokens.data();
    cuda_host_table().embed(stream, wrong);
  };
  broken.gather_rows = [](Stream& stream, const GatherRowsArgs& args) {
    const auto rows = turned(args.rows, args.out.rows);
    GatherRowsArgs wrong = args;
    wrong.rows = rows.data();
    cuda_host_table().gather_rows(stream, wrong);
  };
  broken.kv_write = [](Stream& stream, const KvWriteArgs& args) {
    const auto slots = turned(args.slot_mapping, args.k.rows);
    KvWriteArgs wrong = args;
    wrong.slot_mapping = slots.data();
    cuda_host_table().kv_write(stream, wrong);
  };
  broken.moe_combine = [](Stream& stream, const MoeCombineArgs& args) {
    const auto weights = turned(args.weights, args.y.rows);
    MoeCombineArgs wrong = args;
    wrong.weights = weights.data();
    cuda_host_table().moe_combine(stream, wrong);
  };
  broken.rope = [](Stream& stream, const RopeArgs& args) {
    RopeArgs wrong = args;
    wrong.x.rows -= 1;
    cuda_host_table().rope(stream, wrong);
  };
  broken.add = [](Stream& stream, const AddArgs& args) {
    AddArgs wrong = args;
    wrong.x.rows -= 1;
    wrong.y.rows -= 1;
    cuda_host_table().add(stream, wrong);
  };
  broken.sigmoid_gate_add = [](Stream& stream, const SigmoidGateAddArgs& args) {
    SigmoidGateAddArgs wrong = args;
    wrong.gate.stride = 0;  // the first row's
    cuda_host_table().sigmoid_gate_add(stream, wrong);
  };
  for (const char* op : {"embed", "gather_rows", "kv_write", "moe_combine", "rope", "add", "sigmoid_gate_add"}) {
    int shown = 0, ran = 0;
    for (const OpCase* c : some_cases(op)) {
      CudaStream stream;
      shown += close(c->run(broken, stream), run_ref(*c), *c) ? 0 : 1;
      ++ran;
    }
    EXPECT_GT(ran, 0) << op;
    EXPECT_GT(shown, ran / 2) << op;
  }
}

// Attention that reads the page after the right one, and the values of the page after the right keys.
TEST_F(CudaOps, AWrongPageShows) {
  static bool late_table, late_values;
  OpTable broken = cuda_host_table();
  broken.attention = [](Stream& stream, const AttentionArgs& args) {
    std::vector<SeqSpan> seqs(args.seqs, args.seqs + args.num_seqs);
    std::vector<std::vector<std::int32_t>> tables;
    for (SeqSpan& seq : seqs) {
      const std::int32_t blocks = (seq.first_position + seq.rows - 1) / args.pages.block_size + 1;
      tables.emplace_back(seq.block_table, seq.block_table + blocks);
      if (late_table) std::rotate(tables.back().begin(), tables.back().begin() + 1, tables.back().end());
      seq.block_table = tables.back().data();
    }
    AttentionArgs wrong = args;
    wrong.seqs = seqs.data();
    if (late_values) {
      const std::int64_t elements = value_index(args.pages, 1, 0, 0);
      wrong.pages.v = static_cast<std::byte*>(args.pages.v) + elements * dtype_bytes(args.pages.type);
      wrong.pages.num_blocks -= 1;
    }
    cuda_host_table().attention(stream, wrong);
  };
  for (int fault = 0; fault < 3; ++fault) {
    late_table = fault == 1;
    late_values = fault == 2;
    int shown = 0;
    for (const OpCase* c : some_cases("attention")) {
      if (c->name.find("attention 4 4 64") == std::string::npos &&
          c->name.find("attention 8 2 64") == std::string::npos)
        continue;
      CudaStream stream;
      shown += close(c->run(broken, stream), run_ref(*c), *c) ? 0 : 1;
    }
    EXPECT_EQ(shown > 0, fault > 0) << fault;
  }
}

// Rows of attention have the same bits alone, in chunks, in a batch, and split into segments or not.
TEST_F(CudaOps, AttentionRowsDependOnTheirPositionsAlone) {
  for (const DType type : {DType::kF16, DType::kBF16, DType::kF32}) {
    const PagedSetup setup{4, 2, 64, 16, 0, type, 3};
    const PagedSetup small_pages{4, 2, 64, 5, 0, type, 3};
    constexpr std::int32_t kWidth = 4 * 64, kLong = 1100;
    CudaStream stream;
    const auto rows = [&](const PagedSetup& s, const std::vector<SpanSpec>& spans) {
      return attend(cuda_host_table(), stream, s, spans);
    };
    const Floats alone = rows(setup, {{0, kLong - 1, 1}});
    const Floats chunk = rows(setup, {{0, kLong - 21, 21}});
    expect_same_bits(rows_of(chunk, kWidth, 20, 1), alone, "the last row of a chunk");
    expect_same_bits(rows(small_pages, {{0, kLong - 1, 1}}), alone, "pages of another size");
    std::vector<SpanSpec> batch = {{0, kLong - 1, 1}};
    for (std::int32_t s = 1; s < 300; ++s) batch.push_back({s, 3, 1});  // enough blocks: nothing is split
    expect_same_bits(rows_of(rows(setup, batch), kWidth, 0, 1), alone, "in a large batch");
  }
}

}  // namespace
}  // namespace foregate::testing
