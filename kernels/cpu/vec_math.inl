// What the algorithms need on top of the primitives: partial loads, exp and the activations.
// Each lane's result depends on that lane only and is the same in every table that has FMA.

// The first n elements, zeros in the other lanes; 0 < n, and n >= 16 loads all.
template <class T>
FOREGATE_INLINE V load_part(const T* p, std::int64_t n) {
  if (n >= kLanes) return load(p);
  T padded[kLanes] = {};
  __builtin_memcpy(padded, p, static_cast<std::size_t>(n) * sizeof(T));
  return load(padded);
}
template <class T>
FOREGATE_INLINE void store_part(T* p, V v, std::int64_t n) {
  if (n >= kLanes) {
    store(p, v);
    return;
  }
  T padded[kLanes];
  store(padded, v);
  __builtin_memcpy(p, padded, static_cast<std::size_t>(n) * sizeof(T));
}

FOREGATE_INLINE float first_lane(V v) {
  float lanes[kLanes];
  store(lanes, v);
  return lanes[0];
}

// e^x within 2 ulp: x = n ln 2 + r, |r| <= ln 2 / 2, then the series to r^7. Below the smallest
// normal float the result is 0, above 88.37 it stays at e^88.37; NaN gives NaN.
FOREGATE_INLINE V exp(V x) {
  constexpr float kLowest = -87.3365f;
  constexpr float kHighest = 88.37f;
  const V bias = splat(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer
  const V clamped = min(splat(kHighest), max(splat(kLowest), x));
  const V biased = fma(clamped, splat(1.44269504088896341f), bias);
  const V n = sub(biased, bias);
  V r = fma(n, splat(-0.693359375f), clamped);
  r = fma(n, splat(2.12194440054690583e-4f), r);
  V p = splat(1.0f / 5040.0f);
  p = fma(p, r, splat(1.0f / 720.0f));
  p = fma(p, r, splat(1.0f / 120.0f));
  p = fma(p, r, splat(1.0f / 24.0f));
  p = fma(p, r, splat(1.0f / 6.0f));
  p = fma(p, r, splat(0.5f));
  p = fma(p, r, splat(1.0f));
  p = fma(p, r, splat(1.0f));
  return select_lt(x, splat(kLowest), zero(), mul(p, pow2_of_biased(biased)));
}

FOREGATE_INLINE V sigmoid(V x) {
  const V one = splat(1.0f);
  return div(one, add(one, exp(sub(zero(), x))));
}

// Abramowitz and Stegun 7.1.26, absolute error below 2e-7 in f32.
FOREGATE_INLINE V erf(V x) {
  const V magnitude = max(sub(zero(), x), x);
  const V one = splat(1.0f);
  const V t = div(one, fma(splat(0.3275911f), magnitude, one));
  V p = splat(1.061405429f);
  p = fma(p, t, splat(-1.453152027f));
  p = fma(p, t, splat(1.421413741f));
  p = fma(p, t, splat(-0.284496736f));
  p = fma(p, t, splat(0.254829592f));
  const V tail = mul(mul(p, t), exp(sub(zero(), mul(x, x))));
  const V value = sub(one, tail);
  return select_lt(x, zero(), sub(zero(), value), value);
}

FOREGATE_INLINE V gelu_tanh(V x) {
  constexpr float kSqrtTwoOverPi = 0.79788456080286535588f;
  const V cubic = mul(mul(x, x), x);
  const V inner = mul(splat(2.0f * kSqrtTwoOverPi), fma(splat(0.044715f), cubic, x));
  return mul(x, sigmoid(inner));  // (1 + tanh(u)) / 2 = sigmoid(2 u)
}

FOREGATE_INLINE V activate(Activation activation, V x) {
  switch (activation) {
    case Activation::kSilu: return mul(x, sigmoid(x));
    case Activation::kGelu: return mul(mul(splat(0.5f), x), add(splat(1.0f), erf(mul(x, splat(0.70710678118654752f)))));
    case Activation::kGeluTanh: return gelu_tanh(x);
    case Activation::kRelu: return max(zero(), x);
  }
  return x;
}
