#include "tests/engine/runtime/stub_model.h"

#include <cstdlib>
#include <cstring>

namespace foregate::testing_support {
namespace {

constexpr std::int32_t kHeadDim = 4;  // token, position, and the two halves of the history hash

struct Slot {
  std::int32_t token = 0;
  std::int32_t position = 0;
  std::uint64_t hash = 0;
};
static_assert(sizeof(Slot) == kHeadDim * sizeof(float));

Slot load(const KvPages& pages, std::int64_t slot) {
  Slot value;
  std::memcpy(static_cast<void*>(&value), static_cast<const float*>(pages.v) + slot * kHeadDim, sizeof(value));
  return value;
}

void store(const KvPages& pages, std::int64_t slot, const Slot& value) {
  std::memcpy(static_cast<float*>(pages.v) + slot * kHeadDim, &value, sizeof(value));
}

std::int64_t slot_of(const SeqSpan& seq, std::int32_t position, std::int32_t block_size) {
  return seq.slot(position, block_size);
}

}  // namespace

Memory HostDevice::allocate(std::size_t bytes) {
  if (bytes == 0) return {};
  void* data = std::aligned_alloc(64, (bytes + 63) / 64 * 64);
  if (data == nullptr) return {};
  std::memset(data, 0, bytes);
  return Memory(data, bytes, [](void* p, std::size_t) { std::free(p); });
}

std::uint64_t mix_hash(std::uint64_t hash, std::uint64_t value) {
  std::uint64_t x = hash ^ (value + 0x9e3779b97f4a7c15ULL + (hash << 6) + (hash >> 2));
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

std::uint64_t history_hash(std::span<const Token> tokens) {
  std::uint64_t hash = 1;
  for (Token token : tokens) hash = mix_hash(hash, static_cast<std::uint64_t>(token));
  return hash;
}

std::vector<float> stub_logits(std::uint64_t history, std::int32_t vocab_size) {
  std::vector<float> logits;
  for (std::int32_t v = 0; v < vocab_size; ++v) {
    const std::uint64_t bits = mix_hash(history, 1'000'003ULL * static_cast<std::uint64_t>(v + 1)) >> 40;
    logits.push_back(static_cast<float>(bits) * (8.0f / (1 << 24)) - 4.0f);
  }
  return logits;
}

KvLayout StubModel::kv_layout(DType type, std::int32_t block_size) const {
  KvLayout layout;
  layout.layers = {{KvKind::kFull, 1, kHeadDim, 0}};
  layout.type = type;
  layout.block_size = block_size;
  return layout;
}

Status StubModel::forward(const ForwardInput& input, KvCache& cache, View2<float> logits) {
  const KvPages pages = cache.pages(LayerId{0});
  std::vector<std::uint64_t> hashes(input.tokens.size());
  for (const SeqSpan& seq : input.branches.empty() ? input.seqs : input.branches) {
    for (std::int32_t i = 0; i < seq.rows; ++i) {
      const auto row = static_cast<std::size_t>(seq.first_row + i);
      const std::int32_t position = seq.first_position + i;
      if (input.positions[row] != position) return internal_error("positions do not follow");
      if (input.slot_mapping[row] != slot_of(seq, position, pages.block_size)) return internal_error("slot_mapping");
      std::uint64_t hash = 1;
      for (std::int32_t p = 0; p < position; ++p) {
        const Slot slot = load(pages, slot_of(seq, p, pages.block_size));
        hash = mix_hash(hash, static_cast<std::uint64_t>(slot.token));
        if (slot.position != p || slot.hash != hash) return internal_error("a KV slot holds another sequence");
      }
      hashes[row] = mix_hash(hash, static_cast<std::uint64_t>(input.tokens[row]));
      store(pages, input.slot_mapping[row], {input.tokens[row], position, hashes[row]});
    }
  }
  for (std::size_t i = 0; i < input.logit_rows.size(); ++i) {
    const auto row = stub_logits(hashes[static_cast<std::size_t>(input.logit_rows[i])], vocab_size_);
    std::memcpy(logits.data + static_cast<std::int64_t>(i) * logits.stride, row.data(), row.size() * sizeof(float));
  }
  return {};
}

namespace {

// The history before row i of a sequence whose draft is a tree, depth first: the latest row one position before it.
std::uint64_t parent_hash(const ForwardInput& input, const std::vector<std::uint64_t>& hashes, const SeqSpan& seq,
                          std::int32_t i, std::uint64_t before) {
  const auto first = static_cast<std::size_t>(seq.first_row);
  for (auto j = first + static_cast<std::size_t>(i); j-- > first;) {
    if (input.positions[j] == input.positions[first + static_cast<std::size_t>(i)] - 1) return hashes[j];
  }
  return before;
}

}  // namespace

void RecordingModel::drafts_stood(std::span<const std::int32_t> stood, std::span<const std::int32_t> places) {
  for (std::size_t i = 0; i < places.size(); ++i) {
    if (places[i] == 0) continue;
    tokens_.at(drafted_[i].request)[static_cast<std::size_t>(drafted_[i].newest + places[i])] = drafted_[i].token;
  }
  inner_->drafts_stood(stood, places);
}

RecordingModel::RecordingModel(std::unique_ptr<Model> inner, std::shared_ptr<LogitRecord> record,
                               const std::vector<Request>& requests)
    : inner_(std::move(inner)), record_(std::move(record)) {
  for (const Request& request : requests) tokens_[request.id.value] = request.prompt;
}

Status RecordingModel::forward(const ForwardInput& input, KvCache& cache, View2<float> logits) {
  if (record_->begin.valid()) record_->begin.wait();
  RETURN_IF_ERROR(inner_->forward(input, cache, logits));
  std::vector<std::uint64_t> hashes(input.tokens.size());
  drafted_.clear();
  for (std::size_t s = 0; s < input.seqs.size(); ++s) {
    const SeqSpan& seq = input.seqs[s];
    std::vector<Token>& tokens = tokens_.at(input.requests[s]);
    std::uint64_t hash = history_hash(std::span(tokens).first(static_cast<std::size_t>(seq.first_position)));
    for (std::int32_t i = 0; i < seq.rows; ++i) {
      const auto row = static_cast<std::size_t>(seq.first_row + i);
      const auto position = static_cast<std::size_t>(input.positions[row]);
      if (!input.branches.empty()) {
        hash = parent_hash(input, hashes, seq, i, hash);
        if (i >= seq.rows - input.drafted[s])
          drafted_.push_back(
              {input.requests[s], seq.first_position + seq.rows - 1 - input.drafted[s], input.tokens[row]});
      }
      if (position >= tokens.size()) tokens.resize(position + 1);
      tokens[position] = input.tokens[row];
      hashes[row] = hash = mix_hash(hash, static_cast<std::uint64_t>(input.tokens[row]));
    }
  }
  std::lock_guard lock(record_->mutex);
  for (std::size_t i = 0; i < input.logit_rows.size(); ++i) {
    const float* row = logits.data + static_cast<std::int64_t>(i) * logits.stride;
    std::vector<float> values(row, row + logits.cols);
    const auto [it, fresh] =
        record_->rows.emplace(hashes[static_cast<std::size_t>(input.logit_rows[i])], std::move(values));
    if (fresh) continue;
    ++record_->repeats;
    const bool same = std::memcmp(it->second.data(), row, it->second.size() * sizeof(float)) == 0;
    record_->mismatches += same ? 0 : 1;
  }
  return {};
}

}  // namespace foregate::testing_support
