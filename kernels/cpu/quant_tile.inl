// One block of 16 outputs times a tile of rows, for every quantized format. Integer sums of a group are exact; their
// f32 multiples are added in ascending k, one accumulator per output and row: the same bits at any height.

// Outputs of a block for a tile of rows: [height][16].
constexpr int kBlockOut = kQuantRows * kLanes;

// What a group of weights brings, beside its codes.
struct GroupFactors {
  QF scale;    // of the integer sum
  QF minimum;  // of a * sum(q); used by formats with one
  QI weigh[2];
};

// The factors that a unit shares among its groups.
struct UnitFactors {
  QF d;
  QF minus_dmin;
};

template <WeightFormat F>
constexpr bool kHasMinimum = F == WeightFormat::kQ4_1 || F == WeightFormat::kQ4_K || F == WeightFormat::kQ5_K;
template <WeightFormat F>
constexpr int kUnitGroups = format_unit(F).cols / kQuantGroup;
template <WeightFormat F>
constexpr int kUnitHeader = F == WeightFormat::kMxfp4 ? 0
                            : kHasMinimum<F>          ? 64
                                                      : 32;
template <WeightFormat F>
constexpr int kGroupScales = F == WeightFormat::kMxfp4 ? 16
                             : kUnitGroups<F> > 1      ? 32
                                                       : 0;
template <WeightFormat F>
constexpr int kGroupBytes = (format_unit(F).bytes - kUnitHeader<F>) / kUnitGroups<F>;
template <WeightFormat F>
constexpr int kCodeBits = F == WeightFormat::kQ8_0                                                            ? 8
                          : F == WeightFormat::kQ6_K                                                          ? 6
                          : F == WeightFormat::kQ5_0 || F == WeightFormat::kQ5_K || F == WeightFormat::kMxfp4 ? 5
                                                                                                              : 4;

template <WeightFormat F>
FOREGATE_INLINE UnitFactors unit_factors(const std::uint8_t* unit, int lane) {
  UnitFactors f{};
  if constexpr (F != WeightFormat::kMxfp4) f.d = qf_load_f16(unit + 2 * lane);
  if constexpr (F == WeightFormat::kQ4_1) f.minus_dmin = qf_load_f16(unit + 32 + 2 * lane);
  if constexpr (F == WeightFormat::kQ4_K || F == WeightFormat::kQ5_K) {
    f.minus_dmin = qf_mul(qf_load_f16(unit + 32 + 2 * lane), qf_splat(-1.0f));
  }
  return f;
}

template <WeightFormat F>
FOREGATE_INLINE GroupFactors group_factors(const UnitFactors& unit, const std::uint8_t* group, int lane) {
  GroupFactors f{};
  f.scale = unit.d;
  if constexpr (F == WeightFormat::kQ4_1) f.minimum = unit.minus_dmin;
  if constexpr (F == WeightFormat::kMxfp4) f.scale = qf_load_half_e8m0(group + lane);
  if constexpr (F == WeightFormat::kQ4_K || F == WeightFormat::kQ5_K) {
    f.scale = qf_mul(unit.d, qf_of(qi_load_u8(group + lane)));
    f.minimum = qf_mul(unit.minus_dmin, qf_of(qi_load_u8(group + 16 + lane)));
  }
  if constexpr (F == WeightFormat::kQ6_K) {
    f.weigh[0] = qi_load_i8(group + lane);
    f.weigh[1] = qi_load_i8(group + 16 + lane);
  }
  return f;
}

template <WeightFormat F>
FOREGATE_INLINE Codes unpack_group(const std::uint8_t* codes) {
  if constexpr (F == WeightFormat::kQ8_0) {
    return unpack_bytes(codes);
  } else {
    Codes c = unpack_nibbles(codes);
    if constexpr (F == WeightFormat::kQ5_0 || F == WeightFormat::kQ5_K) add_fifth_bit(c, codes + 256);
    if constexpr (F == WeightFormat::kQ6_K) add_high_pairs(c, codes + 256);
    if constexpr (F == WeightFormat::kMxfp4) map_e2m1(c);
    return c;
  }
}

// What the offset of the codes adds to the integer sum of a row.
template <WeightFormat F>
FOREGATE_INLINE std::int32_t offset_of(const QuantRow& row) {
  return F == WeightFormat::kQ8_0    ? row.minus128
         : F == WeightFormat::kQ4_0  ? row.minus8
         : F == WeightFormat::kQ5_0  ? row.minus16
         : F == WeightFormat::kMxfp4 ? row.minus12
                                     : 0;
}

// The integer sums of a group and R rows.
template <WeightFormat F, int R>
FOREGATE_INLINE void group_sums(const Codes& codes, const GroupFactors& f, const QuantRow* rows, QI (&sums)[R]) {
  constexpr int kBits = kCodeBits<F>;
  if constexpr (F == WeightFormat::kQ6_K) {
    QI high[R];
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
      sums[r] = qi_splat(rows[r].minus32[0]);
      high[r] = qi_splat(rows[r].minus32[1]);
    }
    dot_chunks<0, 4, kBits>(codes, rows->q, sums);
    dot_chunks<4, 4, kBits>(codes, rows->q, high);
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) sums[r] = qi_weigh(f.weigh[0], sums[r], f.weigh[1], high[r]);
  } else {
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) sums[r] = qi_splat(offset_of<F>(rows[r]));
    dot_chunks<0, 8, kBits>(codes, rows->q, sums);
  }
}

// Adds a group's products of R rows to their sums.
template <WeightFormat F, int R>
FOREGATE_INLINE void add_group(const Codes& codes, const GroupFactors& f, const QuantRow* rows, QF* sum) {
  QI whole[R];
  group_sums<F, R>(codes, f, rows, whole);
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r) {
    sum[r] = qf_fma(qf_of(whole[r]), qf_mul(f.scale, qf_splat(rows[r].a)), sum[r]);
    if constexpr (kHasMinimum<F>) sum[r] = qf_fma(f.minimum, qf_splat(rows[r].a_sum), sum[r]);
  }
}

// out[r * 16 + lane] = the products of R rows. `ahead`: bytes to fetch ahead of a block that is read once, 0 for one
// that stays in the cache.
template <WeightFormat F, int R>
void quant_tile(const std::uint8_t* block, std::int64_t units, const QuantRow* rows, float* out, std::int64_t ahead) {
  for (int lane = 0; lane < kLanes; lane += kQuantLanes) {
    QF sum[R];
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) sum[r] = qf_zero();
    const QuantRow* row = rows;
    const std::uint8_t* unit = block;
    for (std::int64_t u = 0; u < units; ++u, unit += format_unit(F).bytes) {
      const UnitFactors shared = unit_factors<F>(unit, lane);
      for (int g = 0; g < kUnitGroups<F>; ++g, row += R) {
        const std::uint8_t* group = unit + kUnitHeader<F> + g * kGroupBytes<F>;
        if (ahead > 0 && lane == 0) {
#pragma GCC unroll 9
          for (int line = 0; line < (kGroupBytes<F> + 63) / 64; ++line) {
            __builtin_prefetch(group + ahead + 64 * line, 0, 3);
          }
        }
        const GroupFactors factors = group_factors<F>(shared, group, lane);
        const Codes codes = unpack_group<F>(group + kGroupScales<F> + 4 * lane);
        constexpr int kTurns = 4;  // rows that take turns: enough to hide the latency of a product
#pragma GCC unroll 4
        for (int r = 0; r + kTurns <= R; r += kTurns) add_group<F, kTurns>(codes, factors, row + r, sum + r);
        if constexpr (R % kTurns != 0) {
          add_group<F, R % kTurns>(codes, factors, row + R / kTurns * kTurns, sum + R / kTurns * kTurns);
        }
      }
    }
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) qf_store(out + r * kLanes + lane, sum[r]);
  }
}

template <WeightFormat F, int R = kQuantRows>
void quant_height_tile(int height, const std::uint8_t* block, std::int64_t units, const QuantRow* rows, float* out,
                       std::int64_t ahead) {
  if constexpr (R > 0) {
    if constexpr (quant_height(R) == R) {
      if (height == R) return quant_tile<F, R>(block, units, rows, out, ahead);
    }
    quant_height_tile<F, R - 1>(height, block, units, rows, out, ahead);
  }
}
