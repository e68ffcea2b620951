// Products of a few blocks of outputs with a tile of rows: the one place that asks for the format and the height.

template <WeightFormat F, int R = kQuantRows>
void quant_pair_height(int height, const std::uint8_t* block, std::int64_t units, const QuantRow* rows,
                       float (*out)[kBlockOut], std::int64_t ahead) {
  if constexpr (R >= kQuantPairRows) {
    if (height == R) return quant_pair_tile<F, R>(block, units, rows, out, ahead);
    quant_pair_height<F, R - 4>(height, block, units, rows, out, ahead);
  }
}

template <WeightFormat F>
void format_blocks(const PackedWeight& weight, std::int64_t number, std::int64_t count, const QuantRow* rows,
                   int height, float (*out)[kBlockOut], std::int64_t ahead) {
  const std::int64_t units = weight.cols / format_unit(F).cols;
  const std::int64_t bytes = units * format_unit(F).bytes;
  const std::uint8_t* block = reinterpret_cast<const std::uint8_t*>(weight.data) + number * bytes;
  if constexpr (kQuantPairRows <= kQuantRows) {
    if (count == 2 && height >= kQuantPairRows) return quant_pair_height<F>(height, block, units, rows, out, ahead);
  }
  for (std::int64_t i = 0; i < count; ++i) {
    quant_height_tile<F>(height, block + i * bytes, units, rows, out[i], ahead);
  }
}

// Blocks `number` on, one or two of them, of a quantized weight times one tile of `height` rows.
inline void multiply_blocks(const PackedWeight& weight, std::int64_t number, std::int64_t count, const QuantRow* rows,
                            int height, float (*out)[kBlockOut], std::int64_t ahead) {
  const auto run = [&]<WeightFormat F>() { format_blocks<F>(weight, number, count, rows, height, out, ahead); };
  switch (weight.format) {
    case WeightFormat::kQ8_0: return run.template operator()<WeightFormat::kQ8_0>();
    case WeightFormat::kQ4_0: return run.template operator()<WeightFormat::kQ4_0>();
    case WeightFormat::kQ4_1: return run.template operator()<WeightFormat::kQ4_1>();
    case WeightFormat::kQ5_0: return run.template operator()<WeightFormat::kQ5_0>();
    case WeightFormat::kQ4_K: return run.template operator()<WeightFormat::kQ4_K>();
    case WeightFormat::kQ5_K: return run.template operator()<WeightFormat::kQ5_K>();
    case WeightFormat::kQ6_K: return run.template operator()<WeightFormat::kQ6_K>();
    case WeightFormat::kMxfp4: return run.template operator()<WeightFormat::kMxfp4>();
    default: CHECK(is_quantized(weight.format));
  }
}
