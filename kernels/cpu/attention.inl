// Spreading attention over items: rows and kv heads, or segments of keys where that alone would leave threads idle.
// The split follows the number of threads and the rest of the call; the bits do not (attention_worker.inl).

// How the rows of one sequence are spread over items.
struct SeqPlan {
  std::int64_t first_item;
  std::int64_t first_segment;
  std::int64_t segments;     // items per kv head that each take one segment; 0: items take rows, all their segments
  std::byte* states;         // [kv heads][segments] softmax states, when split
  std::int32_t* unfinished;  // [kv heads] segments to come
};

struct AttentionJob {
  const AttentionArgs& args;
  const AttentionShape& shape;
  SeqPlan* plans;  // [num_seqs]
  std::int64_t items = 0;
  std::int64_t work = 0;

  std::int64_t chunks(const SeqSpan& seq) const { return ceil_div(seq.rows, shape.chunk_rows); }
  std::int64_t state_bytes(std::int64_t vectors) const {
    Carver measure(nullptr);
    const SoftmaxState state(measure, shape, vectors);
    return measure.used();
  }
  static std::int64_t keys_of(const AttentionArgs& args, const SeqSpan& seq) {
    const std::int64_t end = static_cast<std::int64_t>(seq.first_position) + seq.rows;
    return args.window > 0 ? smaller(end, seq.rows + static_cast<std::int64_t>(args.window) - 1) : end;
  }

  // Numbers the items. A sequence of few rows is split into segments when its items would be large beside a
  // thread's share of all work; `shared` gets room for their states and is only measured when it has no memory.
  void lay_out(std::int64_t threads, Carver& shared) {
    work = 0;
    for (std::int32_t s = 0; s < args.num_seqs; ++s) work += args.seqs[s].rows * keys_of(args, args.seqs[s]);
    items = 0;
    for (std::int32_t s = 0; s < args.num_seqs; ++s) {
      const SeqSpan& seq = args.seqs[s];
      SeqPlan plan{items, 0, 0, nullptr, nullptr};
      const std::int64_t end = static_cast<std::int64_t>(seq.first_position) + seq.rows;
      plan.first_segment = (end - keys_of(args, seq)) / kSegmentKeys;
      const std::int64_t segments = ceil_div(end, kSegmentKeys) - plan.first_segment;
      const bool large = seq.rows * keys_of(args, seq) * 8 * threads > work * args.pages.kv_heads;
      const std::int64_t vectors = seq.rows * shape.group;
      if (threads > 1 && segments > 1 && large && chunks(seq) == 1 && RowTiles(vectors).count <= 2) {
        plan.segments = segments;
        plan.states = shared.take<std::byte>(args.pages.kv_heads * segments * state_bytes(vectors));
        plan.unfinished = shared.take<std::int32_t>(args.pages.kv_heads);
      }
      items += (plan.segments > 0 ? segments : chunks(seq)) * args.pages.kv_heads;
      if (plans != nullptr) plans[s] = plan;
    }
    work *= args.heads * shape.dim * 2;
  }

  void start() {
    for (std::int32_t s = 0; s < args.num_seqs; ++s) {
      for (std::int64_t h = 0; h < args.pages.kv_heads && plans[s].segments > 0; ++h) {
        plans[s].unfinished[h] = static_cast<std::int32_t>(plans[s].segments);
      }
    }
  }

  void item(std::int64_t number, std::byte* memory) const {
    const std::int32_t s = group_of(args.num_seqs, number, [&](std::int32_t i) { return plans[i].first_item; });
    const SeqSpan& seq = args.seqs[s];
    const std::int64_t local = number - plans[s].first_item;
    AttentionItem item{&seq, local % args.pages.kv_heads, 0, seq.rows * shape.group};
    if (plans[s].segments == 0) {
      // Late rows have most keys: they are handed out first.
      item.first_row = (chunks(seq) - 1 - local / args.pages.kv_heads) * shape.chunk_rows;
      item.vectors = smaller(shape.chunk_rows, seq.rows - item.first_row) * shape.group;
    }
    Carver carver(memory);
    const AttentionMemory m(carver, shape);
    switch (args.pages.type) {
      case DType::kF16: run(AttentionWorker<F16>{args, shape, item, m}, plans[s], local); break;
      case DType::kBF16: run(AttentionWorker<Bf16>{args, shape, item, m}, plans[s], local); break;
      case DType::kI8: run(AttentionWorker<I8>{args, shape, item, m}, plans[s], local); break;
      default: run(AttentionWorker<float>{args, shape, item, m}, plans[s], local);
    }
  }

  template <class Worker>
  void run(Worker worker, const SeqPlan& plan, std::int64_t local) const {
    if (plan.segments == 0) return worker.run();
    const std::int64_t head = worker.item.kv_head;
    const std::int64_t bytes = state_bytes(worker.item.vectors);
    const auto state = [&](std::int64_t segment) {
      Carver carver(plan.states + (head * plan.segments + segment) * bytes);
      return SoftmaxState(carver, shape, worker.item.vectors);
    };
    const std::int64_t own = local / args.pages.kv_heads;
    worker.m.segment = state(own);
    worker.pack_queries();
    worker.attend_segment(plan.first_segment + own);
    // Who ends the last segment merges them all.
    if (__atomic_sub_fetch(plan.unfinished + head, 1, __ATOMIC_ACQ_REL) > 0) return;
    for (std::int64_t i = 0; i < worker.item.vectors; ++i) {
      for (std::int64_t k = 0; k < plan.segments; ++k) worker.merge(i, plan.first_segment + k, state(k));
      worker.finish(i);
    }
  }
};

inline void attention(Stream& stream, const AttentionArgs& args) {
  CHECK(args.pages.kv_heads > 0 && args.heads % args.pages.kv_heads == 0);
  OpRun op(stream);
  const AttentionShape shape(args);
  Carver measure(nullptr);
  const AttentionMemory sizes(measure, shape);
  Carver measure_shared(nullptr);
  measure_shared.take<SeqPlan>(args.num_seqs);
  AttentionJob sizer{args, shape, nullptr};
  sizer.lay_out(op.threads(), measure_shared);
  op.reserve(measure_shared.used(), measure.used());
  Carver shared(op.shared());
  AttentionJob job{args, shape, shared.take<SeqPlan>(args.num_seqs)};
  job.lay_out(op.threads(), shared);
  job.start();
  op.run(job, job.items, job.work);
}
