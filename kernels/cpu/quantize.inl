// Rows of floats straight into the packed layout of q8_0, q4_0, q4_k and q6_k. kernels/api/quantize.cpp says what is
// computed, one block after another; here the sixteen rows of a packed block are lanes, and every lane does the
// operations of that file in its order, so that the bytes are the same. Lanes are vectors of the compiler of the
// processor's width.

#if defined(__AVX512F__)
constexpr int kWideBytes = 64;
#elif defined(__AVX__)
constexpr int kWideBytes = 32;
#else
constexpr int kWideBytes = 16;
#endif
constexpr int kWideLanes = kWideBytes / 4;

typedef float Wide __attribute__((vector_size(kWideBytes)));
typedef std::int32_t WideInt __attribute__((vector_size(kWideBytes)));
typedef double WideDouble __attribute__((vector_size(kWideBytes)));

template <class T>
FOREGATE_INLINE T get(const void* from) {
  T value;
  __builtin_memcpy(&value, from, sizeof value);
  return value;
}
template <class T>
FOREGATE_INLINE void put(void* to, T value) {
  __builtin_memcpy(to, &value, sizeof value);
}
FOREGATE_INLINE Wide spread(float x) {
  return x - Wide{};
}

// kWideLanes doubles, in two vectors.
struct Doubles {
  WideDouble low, high;
};

// highest and lowest give the second operand where the first is NaN. add_exact: x * y + z where x * y needs no
// rounding, so that it makes no difference whether the two are fused. GCC 12 writes the plain forms at the end, with
// AVX, as several times the instructions.
#if defined(__AVX512F__)
FOREGATE_INLINE Wide highest(Wide x, Wide y) {
  return _mm512_max_ps(x, y);
}
FOREGATE_INLINE Wide lowest(Wide x, Wide y) {
  return _mm512_min_ps(x, y);
}
FOREGATE_INLINE WideDouble add_exact(WideDouble x, WideDouble y, WideDouble z) {
  return _mm512_fmadd_pd(x, y, z);
}
FOREGATE_INLINE Doubles as_doubles(Wide v) {
  return {_mm512_cvtps_pd(_mm512_castps512_ps256(v)), _mm512_cvtps_pd(_mm512_extractf32x8_ps(v, 1))};
}
FOREGATE_INLINE Wide as_floats(Doubles v) {
  return _mm512_insertf32x8(_mm512_castps256_ps512(_mm512_cvtpd_ps(v.low)), _mm512_cvtpd_ps(v.high), 1);
}
#elif defined(__AVX__)
FOREGATE_INLINE Wide highest(Wide x, Wide y) {
  return _mm256_max_ps(x, y);
}
FOREGATE_INLINE Wide lowest(Wide x, Wide y) {
  return _mm256_min_ps(x, y);
}
FOREGATE_INLINE WideDouble add_exact(WideDouble x, WideDouble y, WideDouble z) {
  return _mm256_fmadd_pd(x, y, z);
}
FOREGATE_INLINE Doubles as_doubles(Wide v) {
  return {_mm256_cvtps_pd(_mm256_castps256_ps128(v)), _mm256_cvtps_pd(_mm256_extractf128_ps(v, 1))};
}
FOREGATE_INLINE Wide as_floats(Doubles v) {
  return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm256_cvtpd_ps(v.low)), _mm256_cvtpd_ps(v.high), 1);
}
#else
// By way of memory: built lane by lane, GCC 12's vectorizer of straight code takes wrong lanes.
typedef float HalfWide __attribute__((vector_size(kWideBytes / 2)));
FOREGATE_INLINE Wide highest(Wide x, Wide y) {
  return x > y ? x : y;
}
FOREGATE_INLINE Wide lowest(Wide x, Wide y) {
  return x < y ? x : y;
}
FOREGATE_INLINE WideDouble add_exact(WideDouble x, WideDouble y, WideDouble z) {
  return x * y + z;
}
FOREGATE_INLINE Doubles as_doubles(Wide v) {
  float values[kWideLanes];
  put(values, v);
  return {__builtin_convertvector(get<HalfWide>(values), WideDouble),
          __builtin_convertvector(get<HalfWide>(values + kWideLanes / 2), WideDouble)};
}
FOREGATE_INLINE Wide as_floats(Doubles v) {
  float values[kWideLanes];
  put(values, __builtin_convertvector(v.low, HalfWide));
  put(values + kWideLanes / 2, __builtin_convertvector(v.high, HalfWide));
  return get<Wide>(values);
}
#endif

FOREGATE_INLINE Wide magnitude(Wide v) {
  return (Wide)((WideInt)v & 0x7fffffff);
}

// To the nearest whole number within [low, high], ties to even; NaN gives low. After the limits |v| is far below 2^22.
FOREGATE_INLINE Wide to_code(Wide v, Wide low, Wide high) {
  constexpr float kRound = 0x1.8p23f;
  return (lowest(highest(v, low), high) + kRound) - kRound;
}

// x of a group: [column][row], a row in each lane. Every search below is one of quantize.cpp with the same name.
template <int kLow, int kHigh, int kCount>
FOREGATE_INLINE Wide search_scale(const float* x) {
  const Wide low = spread(kLow);
  const Wide high = spread(kHigh);
  Wide most = get<Wide>(x);
  for (int i = 1; i < kCount; ++i) {
    const Wide v = get<Wide>(x + i * kLanes);
    most = magnitude(v) > magnitude(most) ? v : most;
  }
  Wide best_scale = most / low;
  Wide best_gain = spread(-1);
  for (int step = -9; step <= 9; ++step) {
    const Wide factor = spread(static_cast<float>(kLow) + 0.1f * static_cast<float>(step)) / most;
    Wide xl = {};
    Wide ll = {};
    for (int i = 0; i < kCount; ++i) {
      const Wide v = get<Wide>(x + i * kLanes);
      const Wide l = to_code(v * factor, low, high);
      xl += v * l;
      ll += l * l;
    }
    const Wide gain = xl * xl / ll;
    const WideInt better = (ll > 0) & (gain > best_gain);
    best_gain = better ? gain : best_gain;
    best_scale = better ? xl / ll : best_scale;
  }
  return most == 0 ? Wide{} : best_scale;
}

// Half of the lanes of an affine search.
struct AffineHalf {
  WideDouble scale, minimum;
};

struct Affine {
  Wide scale, minimum;
  AffineHalf low, high;  // the same
};
FOREGATE_INLINE Affine as_affine(Wide scale, Wide minimum) {
  const Doubles s = as_doubles(scale);
  const Doubles m = as_doubles(minimum);
  return {scale, minimum, {s.low, m.low}, {s.high, m.high}};
}

// Sums of x, which no candidate changes, and of one candidate's codes.
struct AffineSums {
  WideDouble l1, l2, x1, xl;
};

FOREGATE_INLINE AffineHalf fit(AffineSums s) {
  const WideDouble zero = {};
  const double count = kQuantGroup;
  const WideDouble determinant = count * s.l2 - s.l1 * s.l1;
  const WideDouble minimum = (s.l2 * s.x1 - s.l1 * s.xl) / determinant;
  const auto above = minimum > 0;
  const WideDouble through_zero = s.l2 > 0 ? s.xl / s.l2 : zero;
  const WideDouble scale = above ? through_zero : (count * s.xl - s.l1 * s.x1) / determinant;
  const auto none = determinant <= 0;
  return {none ? zero : scale, none || above ? zero : minimum};
}

FOREGATE_INLINE Wide inverse(Wide v) {
  return ((v != 0) & (magnitude(v) < __builtin_inff())) ? 1.0f / v : Wide{};
}

// A group of kWideLanes rows as the affine searches read it.
struct AffineGroup {
  const float* x;                          // kLanes apart
  float above[kQuantGroup * kWideLanes];   // x less the smallest
  double exact[kQuantGroup * kWideLanes];  // x
  FOREGATE_INLINE Doubles exact_at(int i) const {
    const double* at = exact + i * kWideLanes;
    return {get<WideDouble>(at), get<WideDouble>(at + kWideLanes / 2)};
  }
};

FOREGATE_INLINE void add_square(WideDouble& error, AffineHalf a, WideDouble l, WideDouble x) {
  const WideDouble difference = add_exact(a.scale, l, a.minimum) - x;
  error += difference * difference;
}

FOREGATE_INLINE Doubles squared_error(const AffineGroup& group, const Affine& a, float most_code) {
  const Wide factor = inverse(a.scale);
  Doubles error = {};
  for (int i = 0; i < kQuantGroup; ++i) {
    const Wide v = get<Wide>(group.x + i * kLanes);
    const Doubles l = as_doubles(to_code((v - a.minimum) * factor, Wide{}, spread(most_code)));
    const Doubles exact = group.exact_at(i);
    add_square(error.low, a.low, l.low, exact.low);
    add_square(error.high, a.high, l.high, exact.high);
  }
  return error;
}

// What one step tries: codes of a scale, and the least squares for these.
FOREGATE_INLINE Affine affine_candidate(const AffineGroup& group, Wide factor, Doubles x1, float most_code) {
  Wide l1 = {};  // whole numbers, exact in f32
  Wide l2 = {};
  Doubles xl = {};
  for (int i = 0; i < kQuantGroup; ++i) {
    const Wide l = to_code(get<Wide>(group.above + i * kWideLanes) * factor, Wide{}, spread(most_code));
    l1 += l;
    l2 += l * l;
    const Doubles wide_l = as_doubles(l);
    const Doubles exact = group.exact_at(i);
    xl.low = add_exact(exact.low, wide_l.low, xl.low);
    xl.high = add_exact(exact.high, wide_l.high, xl.high);
  }
  const Doubles sum1 = as_doubles(l1);
  const Doubles sum2 = as_doubles(l2);
  const AffineHalf low = fit({sum1.low, sum2.low, x1.low, xl.low});
  const AffineHalf high = fit({sum1.high, sum2.high, x1.high, xl.high});
  return as_affine(as_floats({low.scale, high.scale}), as_floats({low.minimum, high.minimum}));
}

FOREGATE_INLINE void keep_better(AffineHalf& best, WideDouble& best_error, AffineHalf candidate, WideDouble error) {
  const auto better = (candidate.scale > 0) & (error < best_error);
  best_error = better ? error : best_error;
  best.scale = better ? candidate.scale : best.scale;
  best.minimum = better ? candidate.minimum : best.minimum;
}

// Codes 0 to most_code; scale and minimum of kWideLanes rows.
inline void search_affine(const float* x, float most_code, float* scale, float* minimum) {
  AffineGroup group;
  group.x = x;
  Wide smallest = get<Wide>(x);
  Wide largest = smallest;
  Doubles x1 = {};
  for (int i = 0; i < kQuantGroup; ++i) {
    const Wide v = get<Wide>(x + i * kLanes);
    smallest = lowest(v, smallest);
    largest = highest(v, largest);
    const Doubles exact = as_doubles(v);
    put(group.exact + i * kWideLanes, exact);
    x1.low += exact.low;
    x1.high += exact.high;
  }
  const Wide bottom = lowest(smallest, Wide{});
  const Wide span = largest - bottom;
  for (int i = 0; i < kQuantGroup; ++i) put(group.above + i * kWideLanes, get<Wide>(x + i * kLanes) - bottom);
  Affine best = as_affine(span / most_code, bottom);
  Doubles best_error = squared_error(group, best, most_code);
  for (int step = -10; step <= 10; ++step) {
    const Wide factor = spread(most_code + 0.1f * static_cast<float>(step)) / span;
    const Affine candidate = affine_candidate(group, factor, x1, most_code);
    const Doubles error = squared_error(group, candidate, most_code);
    keep_better(best.low, best_error.low, candidate.low, error.low);
    keep_better(best.high, best_error.high, candidate.high, error.high);
  }
  const WideInt flat = span <= 0;
  put(scale, flat ? Wide{} : as_floats({best.low.scale, best.high.scale}));
  put(minimum, flat ? bottom : as_floats({best.low.minimum, best.high.minimum}));
}

// `code(column)` gives whole numbers; the codes of a group go where quant.h says, for kWideLanes rows.
template <class Code>
FOREGATE_INLINE void put_nibble_codes(std::byte* codes, Code code) {
  for (int c = 0; c < 4; ++c) {
    WideInt word = {};
    for (int i = 0; i < 4; ++i) word |= (code(4 * c + i) | code(4 * c + i + 16) << 4) << 8 * i;
    put(codes + 64 * c, word);
  }
}

// The same where they are held as floats.
template <class Code>
FOREGATE_INLINE void put_nibbles(std::byte* codes, Code code) {
  put_nibble_codes(
      codes, [&](int column) __attribute__((always_inline)) { return __builtin_convertvector(code(column), WideInt); });
}

// One unit of sixteen rows from x, [column][row].
struct UnitQuantizer {
  const float* x;
  std::byte* unit;

  void q8_0() const {
    for (int first = 0; first < kLanes; first += kWideLanes) {
      const float* at = x + first;
      Wide most = {};
      for (int i = 0; i < kQuantGroup; ++i) {
        const Wide v = magnitude(get<Wide>(at + i * kLanes));
        most = highest(v, most);
      }
      const Wide factor = inverse(put_half(unit, first, most / 127.0f));
      for (int c = 0; c < 8; ++c) {
        WideInt word = {};
        for (int i = 0; i < 4; ++i) {
          const Wide code = to_code(get<Wide>(at + (4 * c + i) * kLanes) * factor, spread(-127), spread(127));
          word |= (__builtin_convertvector(code, WideInt) + 128) << 8 * i;
        }
        put(unit + 32 + 64 * c + 4 * first, word);
      }
    }
  }

  void q4_0() const {
    for (int first = 0; first < kLanes; first += kWideLanes) {
      const float* at = x + first;
      const Wide factor = inverse(put_half(unit, first, search_scale<-8, 7, kQuantGroup>(at)));
      put_nibbles(
          unit + 32 + 4 * first, [&](int column) __attribute__((always_inline)) {
            return to_code(get<Wide>(at + column * kLanes) * factor, spread(-8), spread(7)) + 8.0f;
          });
    }
  }

  void q4_k() const {
    float scales[8][kLanes];
    float minimums[8][kLanes];
    for (int g = 0; g < 8; ++g) {
      for (int first = 0; first < kLanes; first += kWideLanes) {
        search_affine(x + g * kQuantGroup * kLanes + first, 15, scales[g] + first, minimums[g] + first);
      }
    }
    for (int first = 0; first < kLanes; first += kWideLanes) k_scales(scales, minimums, first);
  }

  // The scales and minimums of eight groups as six bits each, then the codes that go with them.
  void k_scales(const float (&scales)[8][kLanes], const float (&minimums)[8][kLanes], int first) const {
    Wide most_scale = {};
    Wide most_minimum = {};
    for (int g = 0; g < 8; ++g) {
      const Wide scale = get<Wide>(scales[g] + first);
      const Wide minimum = -get<Wide>(minimums[g] + first);
      most_scale = most_scale < scale ? scale : most_scale;
      most_minimum = most_minimum < minimum ? minimum : most_minimum;
    }
    const Wide d = put_half(unit, first, most_scale / 63.0f);
    const Wide dmin = put_half(unit + 32, first, most_minimum / 63.0f);
    for (int g = 0; g < 8; ++g) {
      std::byte* group = unit + 64 + g * (32 + 256);
      const Wide scale_code = to_code(get<Wide>(scales[g] + first) * inverse(d), Wide{}, spread(63));
      const Wide minimum_code = to_code(-get<Wide>(minimums[g] + first) * inverse(dmin), Wide{}, spread(63));
      put_bytes(group + first, scale_code);
      put_bytes(group + kLanes + first, minimum_code);
      const Wide factor = inverse(d * scale_code);
      const Wide minimum = dmin * minimum_code;
      const float* at = x + g * kQuantGroup * kLanes + first;
      put_nibbles(
          group + 32 + 4 * first, [&](int column) __attribute__((always_inline)) {
            return to_code((get<Wide>(at + column * kLanes) + minimum) * factor, Wide{}, spread(15));
          });
    }
  }

  void q6_k() const {
    for (int first = 0; first < kLanes; first += kWideLanes) {
      Wide scales[16];
      Wide most = {};
      for (int g = 0; g < 16; ++g) {
        scales[g] = search_scale<-32, 31, 16>(x + 16 * g * kLanes + first);
        most = magnitude(scales[g]) > magnitude(most) ? scales[g] : most;
      }
      const Wide d = put_half(unit, first, most / -128.0f);
      for (int g = 0; g < 8; ++g) k6_group(g, first, scales[2 * g], scales[2 * g + 1], d);
    }
  }

  // 32 columns with a scale for each half of them.
  void k6_group(int g, int first, Wide low_scale, Wide high_scale, Wide d) const {
    std::byte* group = unit + 32 + g * (32 + 256 + 128);
    const Wide scale_codes[2] = {to_code(low_scale * inverse(d), spread(-128), spread(127)),
                                 to_code(high_scale * inverse(d), spread(-128), spread(127))};
    const Wide factors[2] = {inverse(d * scale_codes[0]), inverse(d * scale_codes[1])};
    put_bytes(group + first, scale_codes[0]);
    put_bytes(group + kLanes + first, scale_codes[1]);
    const float* at = x + g * kQuantGroup * kLanes + first;
    WideInt codes[kQuantGroup];
    for (int column = 0; column < kQuantGroup; ++column) {
      const Wide code = to_code(get<Wide>(at + column * kLanes) * factors[column / 16], spread(-32), spread(31));
      codes[column] = __builtin_convertvector(code, WideInt) + 32;
    }
    std::byte* low_bits = group + 32 + 4 * first;
    put_nibble_codes(
        low_bits, [&](int column) __attribute__((always_inline)) { return codes[column] & 15; });
    for (int half = 0; half < 2; ++half) {
      WideInt word = {};
      for (int c = 0; c < 4; ++c) {
        for (int i = 0; i < 4; ++i) word |= (codes[16 * half + 4 * c + i] >> 4) << (8 * i + 2 * c);
      }
      put(low_bits + 256 + 64 * half, word);
    }
  }

  // Writes halves of lanes [first, first + kWideLanes) and returns their values.
  static Wide put_half(std::byte* halves, int first, Wide v) {
    float values[kWideLanes];
    put(values, v);
    for (int i = 0; i < kWideLanes; ++i) {
      const std::uint16_t bits = narrow_f16(values[i]);
      put(halves + 2 * (first + i), bits);
      values[i] = widen_f16(bits);
    }
    return get<Wide>(values);
  }

  static void put_bytes(std::byte* to, Wide codes) {
    float values[kWideLanes];
    put(values, codes);
    for (int i = 0; i < kWideLanes; ++i) to[i] = static_cast<std::byte>(static_cast<int>(values[i]));
  }
};

constexpr bool quantizes_lanes(WeightFormat format) {
  return format == WeightFormat::kQ8_0 || format == WeightFormat::kQ4_0 || format == WeightFormat::kQ4_K ||
         format == WeightFormat::kQ6_K;
}

// Sixteen whole rows of one unit, whose values are all finite: [column][row].
inline void quantize_unit(WeightFormat format, const float* x, std::byte* unit) {
  const UnitQuantizer quantizer{x, unit};
  switch (format) {
    case WeightFormat::kQ8_0: return quantizer.q8_0();
    case WeightFormat::kQ4_0: return quantizer.q4_0();
    case WeightFormat::kQ4_K: return quantizer.q4_k();
    default: CHECK(format == WeightFormat::kQ6_K); quantizer.q6_k();
  }
}

// Of [column][row].
inline bool all_finite(const float* x, std::int64_t cols) {
  WideInt beyond = {};
  for (std::int64_t i = 0; i < cols * kLanes; i += kWideLanes) {
    beyond |= (get<WideInt>(x + i) & 0x7fffffff) >= 0x7f800000;
  }
  std::int32_t lanes[kWideLanes];
  put(lanes, beyond);
  std::int32_t any = 0;
  for (const std::int32_t lane : lanes) any |= lane;
  return any == 0;
}
