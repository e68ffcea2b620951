// Spreading items of a job over the pool of a CpuStream.

// One call on a stream: signs the stream, sizes the work memory, runs phases of items.
class OpRun {
 public:
  explicit OpRun(Stream& stream) : stream_(static_cast<CpuStream&>(stream)) { stream_.note(kTableName); }

  void reserve(std::int64_t shared_bytes, std::int64_t worker_bytes) {
    scratch_ = stream_.reserve(shared_bytes, worker_bytes);
  }
  int threads() { return stream_.pool().threads(); }
  std::byte* shared() const { return scratch_.shared; }

  // job.item(i, worker_memory) for i in [0, items); `work` is about the number of multiply-adds of
  // all items, and little work is not worth waking anybody for.
  template <class Job>
  void run(Job& job, std::int64_t items, std::int64_t work) {
    if (work < kWorthSharing) {
      for (std::int64_t i = 0; i < items; ++i) job.item(i, scratch_.workers);
      return;
    }
    Call<Job> call{&job, scratch_.workers, scratch_.worker_stride};
    stream_.pool().run(items, Call<Job>::item, &call);
  }

 private:
  static constexpr std::int64_t kWorthSharing = 1 << 16;

  template <class Job>
  struct Call {
    Job* job;
    std::byte* workers;
    std::int64_t stride;
    static void item(void* context, std::int64_t i, int worker) {
      const Call& call = *static_cast<Call*>(context);
      call.job->item(i, call.workers + worker * call.stride);
    }
  };

  CpuStream& stream_;
  CpuStream::Scratch scratch_;
};

FOREGATE_INLINE std::int64_t ceil_div(std::int64_t a, std::int64_t b) {
  return (a + b - 1) / b;
}
FOREGATE_INLINE std::int64_t smaller(std::int64_t a, std::int64_t b) {
  return a < b ? a : b;
}
FOREGATE_INLINE std::int64_t larger(std::int64_t a, std::int64_t b) {
  return a > b ? a : b;
}

// Hands out 64-byte aligned pieces of work memory. With no memory it only measures.
class Carver {
 public:
  explicit Carver(std::byte* base) : base_(reinterpret_cast<std::uintptr_t>(base)) {}
  template <class T>
  T* take(std::int64_t count) {
    T* piece = reinterpret_cast<T*>(base_ + static_cast<std::uintptr_t>(used_));
    used_ += ceil_div(count * static_cast<std::int64_t>(sizeof(T)), 64) * 64;
    return piece;
  }
  std::int64_t used() const { return used_; }

 private:
  std::uintptr_t base_;
  std::int64_t used_ = 0;
};

// The last group whose first item is not after `item` (groups without items share their first item
// with the next group, so the last one is the owner).
template <class First>
std::int32_t group_of(std::int32_t groups, std::int64_t item, First first) {
  std::int32_t low = 0;
  std::int32_t high = groups;
  while (high - low > 1) {
    const std::int32_t middle = low + (high - low) / 2;
    if (first(middle) <= item) {
      low = middle;
    } else {
      high = middle;
    }
  }
  return low;
}
