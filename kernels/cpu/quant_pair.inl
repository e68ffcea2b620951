// Two blocks of 16 outputs at once times a tile of many rows. With many rows a single block is held up by loads: every
// product reads four columns of a row anew. Two blocks share those reads. The sums of rows lie in memory, which is
// close: what is added to them, and in which order, is as in quant_tile.

// Rows that take turns. q6_k has two integer sums for each.
template <WeightFormat F>
constexpr int kPairTurns = F == WeightFormat::kQ6_K ? 2 : 4;

// A group of one of the two blocks.
struct PairSide {
  Codes codes;
  GroupFactors factors;
};

template <WeightFormat F, int R>
FOREGATE_INLINE void pair_sums(const PairSide& a, const PairSide& b, const QuantRow* rows, QI (&a_sums)[R],
                               QI (&b_sums)[R]) {
  if constexpr (F == WeightFormat::kQ6_K) {
    QI a_high[R];
    QI b_high[R];
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
      a_sums[r] = b_sums[r] = qi_splat(rows[r].minus32[0]);
      a_high[r] = b_high[r] = qi_splat(rows[r].minus32[1]);
    }
    dot_pair<0, 4, R>(a.codes, b.codes, rows->q, a_sums, b_sums);
    dot_pair<4, 4, R>(a.codes, b.codes, rows->q, a_high, b_high);
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
      a_sums[r] = qi_weigh(a.factors.weigh[0], a_sums[r], a.factors.weigh[1], a_high[r]);
      b_sums[r] = qi_weigh(b.factors.weigh[0], b_sums[r], b.factors.weigh[1], b_high[r]);
    }
  } else {
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) a_sums[r] = b_sums[r] = qi_splat(offset_of<F>(rows[r]));
    dot_pair<0, 8, R>(a.codes, b.codes, rows->q, a_sums, b_sums);
  }
}

// Adds the products of a group and one row to its sums.
template <WeightFormat F>
FOREGATE_INLINE void add_to(float* sum, QI whole, const GroupFactors& f, const QuantRow& row) {
  QF value = qf_fma(qf_of(whole), qf_mul(f.scale, qf_splat(row.a)), qf_load(sum));
  if constexpr (kHasMinimum<F>) value = qf_fma(f.minimum, qf_splat(row.a_sum), value);
  qf_store(sum, value);
}

inline void fetch_ahead(const std::uint8_t* group, std::int64_t ahead, int bytes) {
  for (int line = 0; line < bytes; line += 64) __builtin_prefetch(group + ahead + line, 0, 3);
}

// out[block][r * 16 + lane] = the products of R rows with this block and the next; otherwise as quant_tile.
template <WeightFormat F, int R>
void quant_pair_tile(const std::uint8_t* block, std::int64_t units, const QuantRow* rows, float (*out)[kBlockOut],
                     std::int64_t ahead) {
  static_assert(kQuantLanes == kLanes && R % 4 == 0);
  constexpr int kTurns = kPairTurns<F>;
  for (int i = 0; i < 2; ++i) {
    for (int r = 0; r < R; ++r) qf_store(out[i] + r * kLanes, qf_zero());
  }
  const std::int64_t apart = units * format_unit(F).bytes;
  const QuantRow* row = rows;
  for (const std::uint8_t* unit = block; unit < block + apart; unit += format_unit(F).bytes) {
    const UnitFactors a_shared = unit_factors<F>(unit, 0);
    const UnitFactors b_shared = unit_factors<F>(unit + apart, 0);
    for (int g = 0; g < kUnitGroups<F>; ++g, row += R) {
      const std::uint8_t* group = unit + kUnitHeader<F> + g * kGroupBytes<F>;
      if (ahead > 0) {
        // What would lie behind a block is in the next pair: the other block of this one is read meanwhile.
        const std::int64_t far = group - block + ahead < apart ? ahead : ahead + apart;
        fetch_ahead(group, far, kGroupBytes<F>);
        fetch_ahead(group + apart, far, kGroupBytes<F>);
      }
      const PairSide a{unpack_group<F>(group + kGroupScales<F>), group_factors<F>(a_shared, group, 0)};
      const PairSide b{unpack_group<F>(group + apart + kGroupScales<F>), group_factors<F>(b_shared, group + apart, 0)};
      for (int r = 0; r < R; r += kTurns) {
        QI a_whole[kTurns];
        QI b_whole[kTurns];
        pair_sums<F, kTurns>(a, b, row + r, a_whole, b_whole);
#pragma GCC unroll 4
        for (int t = 0; t < kTurns; ++t) {
          add_to<F>(out[0] + (r + t) * kLanes, a_whole[t], a.factors, row[r + t]);
          add_to<F>(out[1] + (r + t) * kLanes, b_whole[t], b.factors, row[r + t]);
        }
      }
    }
  }
}
