// y[out_row] = down( act(gate x) * (up x) ) for every expert group, in two parallel phases over
// (group, chunk of outputs) items: gate + up + activation, then down. A group's weights are read
// once for all of its rows. The rows of a small group are not packed, neither is what lies between: row by row there.

struct FfnGroup {
  const float* x;  // packed tiles [rows, hidden]; null: the rows are few
  float* h;        // packed tiles [rows, intermediate], or the rows themselves
  std::int64_t first_up_item;
  std::int64_t first_down_item;
  std::int64_t first_tile;
  std::int64_t up_chunk;  // blocks of one item
  std::int64_t down_chunk;
};

// Work memory of an item: a panel and two sets of accumulators.
struct FfnMemory {
  float* panel;
  float* gate;
  float* up;
  FfnMemory(Carver carver, std::int64_t rows, std::int64_t chunk)
      : panel(carver.take<float>(panel_floats(chunk))),
        gate(carver.take<float>(rows * chunk * kLanes)),
        up(carver.take<float>(rows * chunk * kLanes)) {}
  static std::int64_t floats(std::int64_t rows, std::int64_t chunk) {
    return panel_floats(chunk) + 2 * rows * chunk * kLanes + 64;
  }
};

struct FfnPlan {
  const ExpertFfnArgs& args;
  std::int64_t threads;
  FfnGroup* groups;
  float* packed_x;

  std::int64_t total_rows = 0;
  std::int64_t work_floats = 0;  // of one worker
  std::int64_t tiles = 0;
  std::int64_t up_items = 0;
  std::int64_t down_items = 0;
  std::int64_t work = 0;

  void lay_out() {
    for (std::int32_t g = 0; g < args.num_groups; ++g) {
      const ExpertGroup& group = args.groups[g];
      const std::int64_t hidden = group.weights.gate.cols;
      const std::int64_t inner = group.weights.gate.rows;
      const std::int64_t up_blocks = ceil_div(inner, kLanes);
      const std::int64_t down_blocks = ceil_div(group.weights.down.rows, kLanes);
      const std::int64_t up_chunk = chunk_blocks(group.rows, up_blocks, threads);
      const std::int64_t down_chunk = chunk_blocks(group.rows, down_blocks, threads);
      const bool few = is_few(group);
      if (groups != nullptr) {
        float* x = few ? nullptr : packed_x + total_rows * hidden;
        groups[g] = {x, args.scratch + total_rows * inner, up_items, down_items, tiles, up_chunk, down_chunk};
      }
      work_floats = larger(work_floats, FfnMemory::floats(group.rows, larger(up_chunk, down_chunk)));
      total_rows += group.rows;
      if (group.rows == 0) continue;
      tiles += few ? 0 : RowTiles(group.rows).count;
      up_items += ceil_div(up_blocks, up_chunk);
      down_items += ceil_div(down_blocks, down_chunk);
      work += group.rows * hidden * inner * 3;
    }
  }

  static bool is_few(const ExpertGroup& group) {
    const ExpertWeights& w = group.weights;
    return taken_as_they_lie(group.rows, w.gate.format) && taken_as_they_lie(group.rows, w.up.format) &&
           taken_as_they_lie(group.rows, w.down.format);
  }
  std::int32_t group_of_up(std::int64_t item) const {
    return group_of(args.num_groups, item, [&](std::int32_t i) { return groups[i].first_up_item; });
  }
  std::int32_t group_of_down(std::int64_t item) const {
    return group_of(args.num_groups, item, [&](std::int32_t i) { return groups[i].first_down_item; });
  }
  // Where the weights begin that a thread will read after those of an item: about where all of them have had one.
  const std::byte* gate_after(std::int64_t item) const {
    item += threads;
    if (item >= up_items) return down_after(-threads);
    const std::int32_t g = group_of_up(item);
    const PackedWeight& gate = args.groups[g].weights.gate;
    if (gate.format == WeightFormat::kFp8) return nullptr;
    return block_at(gate, (item - groups[g].first_up_item) * groups[g].up_chunk);
  }
  const std::byte* down_after(std::int64_t item) const {
    item += threads;
    if (item >= down_items) return nullptr;
    const std::int32_t g = group_of_down(item);
    const PackedWeight& down = args.groups[g].weights.down;
    if (down.format == WeightFormat::kFp8) return nullptr;
    return block_at(down, (item - groups[g].first_down_item) * groups[g].down_chunk);
  }
  // Row r of a small group.
  RowsLeft rows_of(const ExpertGroup& group) const {
    RowsLeft left{};
    for (std::int32_t r = 0; r < group.rows; ++r) left.row[r] = args.x.data + group.x_rows[r] * args.x.stride;
    return left;
  }
};

struct FfnPackJob {
  const FfnPlan& plan;
  void item(std::int64_t item, std::byte*) const {
    const std::int32_t g =
        group_of(plan.args.num_groups, item, [&](std::int32_t i) { return plan.groups[i].first_tile; });
    const ExpertGroup& group = plan.args.groups[g];
    const RowTiles tiles(group.rows);
    const std::int64_t tile = item - plan.groups[g].first_tile;
    const std::int64_t first = tiles.first(tile);
    float* packed = const_cast<float*>(plan.groups[g].x) + first * plan.args.x.cols;
    const int height = tiles.height(tile);
    const float* rows[kMaxRows];
    for (int r = 0; r < height; ++r) rows[r] = plan.args.x.data + group.x_rows[first + r] * plan.args.x.stride;
    pack_tile(rows, height, plan.args.x.cols, packed);
  }
};

struct FfnUpJob {
  const FfnPlan& plan;

  void item(std::int64_t item, std::byte* memory) const {
    const std::int32_t g = plan.group_of_up(item);
    const ExpertGroup& group = plan.args.groups[g];
    const PackedWeight& gate = group.weights.gate;
    const std::int64_t chunk = plan.groups[g].up_chunk;
    const std::int64_t first = (item - plan.groups[g].first_up_item) * chunk;
    const std::int64_t count = smaller(chunk, ceil_div(gate.rows, kLanes) - first);
    const RowTiles tiles(group.rows);
    const FfnMemory m(Carver(memory), group.rows, chunk);
    const std::int64_t stride = chunk * kLanes;
    const std::int64_t n = first * kLanes;
    const std::int64_t width = smaller(count * kLanes, gate.rows - n);
    if (plan.groups[g].x == nullptr) {
      const RowsLeft left = plan.rows_of(group);
      const PackedWeight& up = group.weights.up;
      multiply_few_rows(left, group.rows, gate, first, count, m.gate, stride, block_at(up, first));
      multiply_few_rows(left, group.rows, up, first, count, m.up, stride, plan.gate_after(item));
      return activate_rows(m, stride, group.rows, width, plan.groups[g].h + n, gate.rows);
    }
    multiply_weight(plan.groups[g].x, tiles, gate, first, count, m.gate, stride, m.panel);
    multiply_weight(plan.groups[g].x, tiles, group.weights.up, first, count, m.up, stride, m.panel);
    for (std::int64_t tile = 0; tile < tiles.count; ++tile) {
      const std::int64_t row = tiles.first(tile);
      const int height = tiles.height(tile);
      float* h = plan.groups[g].h + row * gate.rows + n * height;
      activate_tile(m.gate + row * stride, m.up + row * stride, stride, height, width, h);
    }
  }

  // act(gate) * up of a small group: row r at h + r * inner.
  void activate_rows(const FfnMemory& m, std::int64_t stride, std::int64_t rows, std::int64_t width, float* h,
                     std::int64_t inner) const {
    for (std::int64_t r = 0; r < rows; ++r) {
      for (std::int64_t n = 0; n < width; n += kLanes) {
        const V gate = activate(plan.args.activation, load(m.gate + r * stride + n));
        store_part(h + r * inner + n, mul(gate, load(m.up + r * stride + n)), width - n);
      }
    }
  }

  // Writes act(gate) * up of one tile where the down product reads it: element (n, r) at [n * height + r].
  void activate_tile(float* gate, const float* up, std::int64_t stride, int height, std::int64_t width,
                     float* h) const {
    for (int r = 0; r < height; ++r) {
      for (std::int64_t n = 0; n < width; n += kLanes) {
        float* at = gate + r * stride + n;
        store(at, mul(activate(plan.args.activation, load(at)), load(up + r * stride + n)));
      }
    }
    for (std::int64_t n = 0; n < width; ++n) {
      for (int r = 0; r < height; ++r) h[n * height + r] = gate[r * stride + n];
    }
  }
};

struct FfnDownJob {
  const FfnPlan& plan;
  void item(std::int64_t item, std::byte* memory) const {
    const std::int32_t g = plan.group_of_down(item);
    const ExpertGroup& group = plan.args.groups[g];
    const PackedWeight& down = group.weights.down;
    const std::int64_t chunk = plan.groups[g].down_chunk;
    const std::int64_t first = (item - plan.groups[g].first_down_item) * chunk;
    const std::int64_t count = smaller(chunk, ceil_div(down.rows, kLanes) - first);
    const FfnMemory m(Carver(memory), group.rows, chunk);
    const std::int64_t stride = chunk * kLanes;
    if (plan.groups[g].x == nullptr) {
      RowsLeft left{};
      for (std::int32_t r = 0; r < group.rows; ++r) left.row[r] = plan.groups[g].h + r * down.cols;
      multiply_few_rows(left, group.rows, down, first, count, m.gate, stride, plan.down_after(item));
    } else {
      multiply_weight(plan.groups[g].h, RowTiles(group.rows), down, first, count, m.gate, stride, m.panel);
    }
    for (std::int32_t r = 0; r < group.rows; ++r) {
      float* y = plan.args.y.data + group.out_rows[r] * plan.args.y.stride;
      for (std::int64_t b = 0; b < count; ++b) {
        const std::int64_t n = (first + b) * kLanes;
        store_part(y + n, load(m.gate + r * stride + b * kLanes), down.rows - n);
      }
    }
  }
};

// An expert is quantized whole or not at all, and all groups of a call are alike.
inline bool takes_int8(const ExpertFfnArgs& args) {
  if (args.num_groups == 0) return false;
  const bool quantized = is_quantized(args.groups[0].weights.gate.format);
  for (std::int32_t g = 0; g < args.num_groups; ++g) {
    const ExpertWeights& w = args.groups[g].weights;
    CHECK(is_quantized(w.gate.format) == quantized && is_quantized(w.up.format) == quantized &&
          is_quantized(w.down.format) == quantized);
  }
  return quantized;
}

inline void expert_ffn(Stream& stream, const ExpertFfnArgs& args) {
  OpRun op(stream);
  if (takes_int8(args)) return quant_ffn(op, args);
  FfnPlan sizes{args, op.threads(), nullptr, nullptr};
  sizes.lay_out();
  if (sizes.total_rows == 0) return;
  Carver measure(nullptr);
  measure.take<FfnGroup>(args.num_groups);
  measure.take<float>(sizes.total_rows * args.x.cols);
  op.reserve(measure.used(), sizes.work_floats * static_cast<std::int64_t>(sizeof(float)));
  Carver carver(op.shared());
  FfnGroup* groups = carver.take<FfnGroup>(args.num_groups);
  FfnPlan plan{args, op.threads(), groups, carver.take<float>(sizes.total_rows * args.x.cols)};
  plan.lay_out();
  FfnPackJob pack{plan};
  op.run(pack, plan.tiles, plan.total_rows * args.x.cols / 4);
  FfnUpJob up{plan};
  op.run(up, plan.up_items, plan.work);
  FfnDownJob down{plan};
  op.run(down, plan.down_items, plan.work);
}
