// expert_ffn with quantized weights. Tokens become int8 once; experts with several rows gather theirs into tiles. Then
// two phases over (expert, chunk of blocks): gate + up + activation, whose outputs become int8 at once, then down.

struct QuantGroup {
  const QuantRow* x;  // tiles of hidden / 32 groups
  QuantRow* h;        // tiles of intermediate / 32 groups
  std::int64_t first_tile;
  std::int64_t first_up_item;
  std::int64_t first_down_item;
  std::int64_t up_chunk;  // blocks of one item, an even number
  std::int64_t down_chunk;
};

struct QuantFfnPlan {
  const ExpertFfnArgs& args;
  std::int64_t threads;
  QuantGroup* groups;  // null: only count
  QuantRow* tokens;    // [T][hidden / 32]
  QuantRow* gathered;
  QuantRow* hidden;

  std::int64_t gathered_rows = 0;  // in QuantRow
  std::int64_t hidden_rows = 0;
  std::int64_t tiles = 0;
  std::int64_t up_items = 0;
  std::int64_t down_items = 0;
  std::int64_t assignments = 0;

  std::int64_t x_groups() const { return args.x.cols / kQuantGroup; }

  void lay_out() {
    std::int64_t all_up_blocks = 0;
    std::int64_t all_down_blocks = 0;
    for (std::int32_t g = 0; g < args.num_groups; ++g) {
      if (args.groups[g].rows == 0) continue;
      all_up_blocks += args.groups[g].weights.gate.rows / kLanes;
      all_down_blocks += ceil_div(args.groups[g].weights.down.rows, kLanes);
    }
    for (std::int32_t g = 0; g < args.num_groups; ++g) {
      const ExpertGroup& group = args.groups[g];
      const QuantTiles rows(group.rows);
      const std::int64_t up_blocks = group.weights.gate.rows / kLanes;
      const std::int64_t down_blocks = ceil_div(group.weights.down.rows, kLanes);
      const std::int64_t up_chunk = quant_chunk(group.rows, all_up_blocks, threads, 2);
      const std::int64_t down_chunk = quant_chunk(group.rows, all_down_blocks, threads, 1);
      if (groups != nullptr) {
        const QuantRow* x = group.rows == 1 ? tokens + group.x_rows[0] * x_groups() : gathered + gathered_rows;
        groups[g] = {x, hidden + hidden_rows, tiles, up_items, down_items, up_chunk, down_chunk};
      }
      hidden_rows += rows.padded() * (group.weights.down.cols / kQuantGroup);
      if (group.rows == 0) continue;
      if (group.rows > 1) {
        gathered_rows += rows.padded() * x_groups();
        tiles += rows.count();
      }
      up_items += ceil_div(up_blocks, up_chunk);
      down_items += ceil_div(down_blocks, down_chunk);
      assignments += group.rows;
    }
  }
};

struct QuantTokensJob {
  const QuantFfnPlan& plan;
  void item(std::int64_t t, std::byte*) const {
    const View2<const float>& x = plan.args.x;
    quantize_columns(x.data + t * x.stride, x.cols, plan.tokens + t * plan.x_groups(), 1);
  }
};

struct QuantGatherJob {
  const QuantFfnPlan& plan;
  void item(std::int64_t item, std::byte*) const {
    const std::int32_t g =
        group_of(plan.args.num_groups, item, [&](std::int32_t i) { return plan.groups[i].first_tile; });
    const ExpertGroup& group = plan.args.groups[g];
    const QuantTiles tiles(group.rows);
    const std::int64_t tile = item - plan.groups[g].first_tile;
    const std::int64_t groups = plan.x_groups();
    const int height = tiles.height(tile);
    QuantRow* to = const_cast<QuantRow*>(plan.groups[g].x) + tile * kQuantRows * groups;
    for (std::int64_t r = 0; r < tiles.used(tile); ++r) {
      const QuantRow* from = plan.tokens + group.x_rows[tile * kQuantRows + r] * groups;
      for (std::int64_t k = 0; k < groups; ++k) to[k * height + r] = from[k];
    }
    clear_filling(to, groups, tiles.used(tile), height);
  }
};

struct QuantUpJob {
  const QuantFfnPlan& plan;

  void item(std::int64_t item, std::byte*) const {
    const std::int32_t g =
        group_of(plan.args.num_groups, item, [&](std::int32_t i) { return plan.groups[i].first_up_item; });
    const ExpertGroup& group = plan.args.groups[g];
    const QuantGroup& place = plan.groups[g];
    const QuantTiles tiles(group.rows);
    const std::int64_t first = (item - place.first_up_item) * place.up_chunk;
    const std::int64_t end = smaller(first + place.up_chunk, group.weights.gate.rows / kLanes);
    for (std::int64_t tile = 0; tile < tiles.count(); ++tile) {
      for (std::int64_t b = first; b < end; b += kRun) {
        run_of_blocks(group, place, tiles, tile, b, static_cast<int>(smaller(kRun, end - b)));
      }
    }
  }

  // Blocks of gate before the same blocks of up: memory delivers a long run of one stream faster.
  static constexpr int kRun = 4;

  // `count` blocks, an even number, of gate and up for one tile. Two blocks make one group of the down product's rows.
  void run_of_blocks(const ExpertGroup& group, const QuantGroup& place, const QuantTiles& tiles, std::int64_t tile,
                     std::int64_t b, int count) const {
    const int height = tiles.height(tile);
    const QuantRow* x = place.x + tile * kQuantRows * plan.x_groups();
    const std::int64_t ahead = tile == 0 ? kQuantAhead : 0;
    alignas(64) float gate[kRun][kBlockOut];
    alignas(64) float up[2][kBlockOut];
    float h[kQuantRows][2 * kLanes];
    const std::int64_t h_groups = group.weights.down.cols / kQuantGroup;
    QuantRow* to = place.h + tile * kQuantRows * h_groups + b / 2 * height;
    for (int i = 0; i < count; i += 2) multiply_blocks(group.weights.gate, b + i, 2, x, height, gate + i, ahead);
    for (int i = 0; i < count; i += 2) {
      multiply_blocks(group.weights.up, b + i, 2, x, height, up, ahead);
      for (int half = 0; half < 2; ++half) {
        for (int r = 0; r < height; ++r) {
          const V activated = activate(plan.args.activation, load(gate[i + half] + r * kLanes));
          store(h[r] + half * kLanes, mul(activated, load(up[half] + r * kLanes)));
        }
      }
      for (int r = 0; r < height; ++r) quantize_group(h[r], to[i / 2 * height + r]);
    }
  }
};

struct QuantDownJob {
  const QuantFfnPlan& plan;
  void item(std::int64_t item, std::byte*) const {
    const std::int32_t g =
        group_of(plan.args.num_groups, item, [&](std::int32_t i) { return plan.groups[i].first_down_item; });
    const ExpertGroup& group = plan.args.groups[g];
    const QuantGroup& place = plan.groups[g];
    const PackedWeight& down = group.weights.down;
    const QuantTiles tiles(group.rows);
    const std::int64_t first = (item - place.first_down_item) * place.down_chunk;
    const std::int64_t end = smaller(first + place.down_chunk, ceil_div(down.rows, kLanes));
    alignas(64) float out[2][kBlockOut];
    for (std::int64_t tile = 0; tile < tiles.count(); ++tile) {
      const QuantRow* h = place.h + tile * kQuantRows * (down.cols / kQuantGroup);
      const std::int32_t* rows = group.out_rows + tile * kQuantRows;
      for (std::int64_t b = first; b < end; b += 2) {
        const std::int64_t count = smaller(2, end - b);
        multiply_blocks(down, b, count, h, tiles.height(tile), out, tile == 0 ? kQuantAhead : 0);
        for (std::int64_t i = 0; i < count; ++i) {
          for (std::int64_t r = 0; r < tiles.used(tile); ++r) {
            float* y = plan.args.y.data + rows[r] * plan.args.y.stride + (b + i) * kLanes;
            store_part(y, load(out[i] + r * kLanes), down.rows - (b + i) * kLanes);
          }
        }
      }
    }
  }
};

inline void quant_ffn(OpRun& op, const ExpertFfnArgs& args) {
  QuantFfnPlan sizes{args, op.threads(), nullptr, nullptr, nullptr, nullptr};
  sizes.lay_out();
  if (sizes.assignments == 0) return;
  const std::int64_t token_rows = args.x.rows * sizes.x_groups();
  Carver measure(nullptr);
  measure.take<QuantGroup>(args.num_groups);
  measure.take<QuantRow>(token_rows + sizes.gathered_rows + sizes.hidden_rows);
  op.reserve(measure.used(), 0);
  Carver carver(op.shared());
  QuantGroup* groups = carver.take<QuantGroup>(args.num_groups);
  QuantRow* tokens = carver.take<QuantRow>(token_rows);
  QuantRow* gathered = carver.take<QuantRow>(sizes.gathered_rows);
  QuantFfnPlan plan{args, op.threads(), groups, tokens, gathered, carver.take<QuantRow>(sizes.hidden_rows)};
  plan.lay_out();
  QuantTokensJob quantize{plan};
  op.run(quantize, args.x.rows, args.x.rows * args.x.cols);
  QuantGatherJob gather{plan};
  op.run(gather, plan.tiles, plan.gathered_rows * kQuantGroup);
  const std::int64_t work = plan.assignments * args.x.cols * args.groups[0].weights.gate.rows;
  QuantUpJob up{plan};
  op.run(up, plan.up_items, 2 * work / kIntegerGain);
  QuantDownJob down{plan};
  op.run(down, plan.down_items, work / kIntegerGain);
}
