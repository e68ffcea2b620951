#include "tests/kernels/harness.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <map>
#include <tuple>

#include "kernels/ref/element.h"
#include "kernels/ref/ref_table.h"

namespace foregate::testing {

std::uint64_t Random::next() {
  std::uint64_t z = state_ += 0x9e3779b97f4a7c15ull;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return z ^ (z >> 31);
}
std::int32_t Random::below(std::int32_t bound) {
  return static_cast<std::int32_t>(next() % static_cast<std::uint64_t>(bound));
}
std::int32_t Random::between(std::int32_t low, std::int32_t high) {
  return low + below(high - low + 1);
}
float Random::uniform() {
  return static_cast<float>(static_cast<double>(next() >> 40) / (1 << 23) - 1.0);
}
Floats Random::floats(std::int64_t count, float scale) {
  Floats values(static_cast<std::size_t>(count));
  for (float& value : values) value = uniform() * scale;
  return values;
}

Machine::Machine(const std::string& isa, int threads) {
  std::string error;
  backend = make_backend({isa, threads}, &error);
  EXPECT_NE(backend.device, nullptr) << error;
  stream = backend.device->create_stream();
}

std::vector<std::string> cpu_isas() {
  std::vector<std::string> isas = runnable_isas();
  isas.erase(std::remove(isas.begin(), isas.end(), "ref"), isas.end());
  return isas;
}

View2<const float> view(const Floats& values, std::int64_t cols) {
  return {values.data(), static_cast<std::int64_t>(values.size()) / cols, cols, cols};
}
View2<float> view(Floats& values, std::int64_t cols) {
  return {values.data(), static_cast<std::int64_t>(values.size()) / cols, cols, cols};
}

Packed packed(const Floats& values, std::int64_t rows, std::int64_t cols, WeightFormat format) {
  Packed result{{}, format, rows, cols};
  result.bytes.resize(static_cast<std::size_t>(packed_bytes(format, rows, cols)));
  Machine ref("ref", 1);
  ref_table().pack_weight(*ref.stream, {values.data(), DType::kF32, rows, cols, format, result.bytes.data()});
  return result;
}
Packed random_packed(Random& random, std::int64_t rows, std::int64_t cols, WeightFormat format) {
  struct Drawn {
    Packed weight;
    std::uint64_t state;
  };
  using Key = std::tuple<std::uint64_t, std::int64_t, std::int64_t, WeightFormat>;
  static std::map<Key, Drawn> drawn;
  const Key key{random.state(), rows, cols, format};
  auto found = drawn.find(key);
  if (found == drawn.end()) {
    Packed weight = packed(random.floats(rows * cols), rows, cols, format);
    found = drawn.emplace(key, Drawn{std::move(weight), random.state()}).first;
  }
  random.state() = found->second.state;
  return found->second.weight;
}

namespace {

// Pages of one call: every span has blocks of its own, in shuffled order.
struct Pages {
  std::vector<float> k, v;  // reserved as floats, enough for any type
  std::vector<float> k_scales, v_scales;
  std::vector<std::vector<std::int32_t>> tables;
  KvPages pages;

  Pages(const PagedSetup& setup, const std::vector<SpanSpec>& spans) {
    std::vector<std::int32_t> ids;
    for (const SpanSpec& span : spans) {
      const std::int32_t blocks = (span.first_position + span.rows + setup.block_size - 1) / setup.block_size;
      tables.emplace_back(static_cast<std::size_t>(blocks));
      for (std::int32_t b = 0; b < blocks; ++b) ids.push_back(static_cast<std::int32_t>(ids.size()));
    }
    Random shuffle(setup.seed ^ 77);
    for (std::size_t i = ids.size(); i > 1; --i) {
      std::swap(ids[i - 1], ids[static_cast<std::size_t>(shuffle.below(static_cast<std::int32_t>(i)))]);
    }
    std::size_t next = 0;
    for (auto& table : tables) {
      for (std::int32_t& block : table) block = ids[next++];
    }
    const std::size_t elements =
        ids.size() * static_cast<std::size_t>(setup.kv_heads * setup.block_size * setup.head_dim);
    k.assign(elements, std::numeric_limits<float>::quiet_NaN());
    v = k;
    pages = {k.data(),         v.data(),       setup.type,    static_cast<std::int64_t>(ids.size()),
             setup.block_size, setup.kv_heads, setup.head_dim};
    if (setup.type == DType::kI8) {  // the bits of the NaN above are codes
      k_scales.assign(elements / static_cast<std::size_t>(setup.head_dim), std::numeric_limits<float>::quiet_NaN());
      v_scales = k_scales;
      pages.k_scales = k_scales.data();
      pages.v_scales = v_scales.data();
      return;
    }
    for (std::size_t i = 0; i < elements; ++i) {
      write_element(pages.k, setup.type, static_cast<std::int64_t>(i), std::numeric_limits<float>::quiet_NaN());
      write_element(pages.v, setup.type, static_cast<std::int64_t>(i), std::numeric_limits<float>::quiet_NaN());
    }
  }
};

std::uint64_t mix(std::uint64_t seed, std::int64_t sequence, std::int64_t position, std::int64_t kind) {
  return Random(seed * 1000003 + static_cast<std::uint64_t>(sequence * 131071 + position * 8 + kind)).next();
}

// The last positions of a span with a tail change places, the first of them with the last.
std::int64_t slot_of(const PagedSetup& setup, const SpanSpec& span, const std::vector<std::int32_t>& table,
                     std::int32_t p) {
  const std::int32_t end = span.first_position + span.rows;
  const std::int32_t at = p < end - span.tail ? p : 2 * end - span.tail - 1 - p;
  return static_cast<std::int64_t>(table[static_cast<std::size_t>(at / setup.block_size)]) * setup.block_size +
         at % setup.block_size;
}

void write_keys_and_values(const OpTable& ops, Stream& stream, const PagedSetup& setup, const SpanSpec& span,
                           const std::vector<std::int32_t>& table, const KvPages& pages) {
  const std::int32_t width = setup.kv_heads * setup.head_dim;
  Floats k, v;
  std::vector<std::int64_t> slots;
  const std::int32_t first = setup.window > 0 ? std::max(0, span.first_position - setup.window + 1) : 0;
  for (std::int32_t p = first; p < span.first_position + span.rows; ++p) {
    const Floats k_row = Random(mix(setup.seed, span.sequence, p, 0)).floats(width);
    const Floats v_row = Random(mix(setup.seed, span.sequence, p, 1)).floats(width);
    k.insert(k.end(), k_row.begin(), k_row.end());
    v.insert(v.end(), v_row.begin(), v_row.end());
    slots.push_back(slot_of(setup, span, table, p));
  }
  ops.kv_write(stream, {view(std::as_const(k), width), view(std::as_const(v), width), slots.data(), pages});
}

}  // namespace

Floats attend(const OpTable& ops, Stream& stream, const PagedSetup& setup, const std::vector<SpanSpec>& spans) {
  Pages pages(setup, spans);
  const std::int32_t width = setup.heads * setup.head_dim;
  std::vector<SeqSpan> seqs;
  std::vector<std::vector<std::int64_t>> tails(spans.size());
  Floats q;
  std::int32_t rows = 0;
  for (std::size_t i = 0; i < spans.size(); ++i) {
    const SpanSpec& span = spans[i];
    write_keys_and_values(ops, stream, setup, span, pages.tables[i], pages.pages);
    if (setup.window > 0) {
      const std::int32_t first = std::max(0, span.first_position - setup.window + 1);
      std::fill_n(pages.tables[i].begin(), first / setup.block_size, std::numeric_limits<std::int32_t>::max());
    }
    for (std::int32_t r = 0; r < span.rows; ++r) {
      const Floats row = Random(mix(setup.seed, span.sequence, span.first_position + r, 2)).floats(width, 3.0f);
      q.insert(q.end(), row.begin(), row.end());
    }
    seqs.push_back({rows, span.rows, span.first_position, pages.tables[i].data()});
    for (std::int32_t p = span.first_position + span.rows - span.tail; p < span.first_position + span.rows; ++p) {
      tails[i].push_back(slot_of(setup, span, pages.tables[i], p));
    }
    if (span.tail > 0) {
      seqs.back().tail_slots = tails[i].data();
      seqs.back().tail_first = span.first_position + span.rows - span.tail;
    }
    rows += span.rows;
  }
  Floats out(q.size(), 99.0f);
  AttentionArgs args;
  args.q = view(std::as_const(q), width);
  args.out = view(out, width);
  args.heads = setup.heads;
  args.scale = 1.0f / std::sqrt(static_cast<float>(setup.head_dim));
  args.window = setup.window;
  args.seqs = seqs.data();
  args.num_seqs = static_cast<std::int32_t>(seqs.size());
  args.pages = pages.pages;
  ops.attention(stream, args);
  return out;
}

void expect_close(const Floats& got, const Floats& want, std::int64_t row_width, double tolerance,
                  const std::string& what) {
  ASSERT_EQ(got.size(), want.size()) << what;
  for (std::size_t row = 0; row < want.size(); row += static_cast<std::size_t>(row_width)) {
    double largest = 1e-30;
    for (std::int64_t c = 0; c < row_width; ++c) largest = std::max<double>(largest, std::fabs(want[row + c]));
    for (std::int64_t c = 0; c < row_width; ++c) {
      const double error = std::fabs(static_cast<double>(got[row + c]) - want[row + c]);
      ASSERT_TRUE(error <= tolerance * largest) << what << ": row " << row / row_width << " column " << c << ": got "
                                                << got[row + c] << ", want " << want[row + c];
    }
  }
}

std::int64_t first_difference(const Floats& a, const Floats& b) {
  if (a.size() != b.size()) return 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (std::bit_cast<std::uint32_t>(a[i]) != std::bit_cast<std::uint32_t>(b[i])) return static_cast<std::int64_t>(i);
  }
  return -1;
}

void expect_same_bits(const Floats& got, const Floats& want, const std::string& what) {
  ASSERT_EQ(got.size(), want.size()) << what;
  const std::int64_t at = first_difference(got, want);
  if (at >= 0) {
    ADD_FAILURE() << what << ": element " << at << ": " << got[static_cast<std::size_t>(at)] << " and "
                  << want[static_cast<std::size_t>(at)];
  }
}

Floats rows_of(const Floats& values, std::int64_t cols, std::int64_t first, std::int64_t count) {
  return {values.begin() + first * cols, values.begin() + (first + count) * cols};
}

}  // namespace foregate::testing
