// Names of a model's tensors as data: one table per kind of file. Those of a MoE block are the architecture's
// (ArchTable::moe) unless the table brings its own.
#pragma once

#include <string>

#include "engine/model/arch.h"

namespace foregate {

struct FfnNames {
  const char* gate = nullptr;
  const char* up = nullptr;
  const char* down = nullptr;
};

// Of a NextN layer, under its stem. A file may leave the table and the head out: they are the model's then.
struct NextnNames {
  const char* token_norm = nullptr;
  const char* hidden_norm = nullptr;
  const char* join = nullptr;
  const char* head_norm = nullptr;
  const char* embedding = nullptr;
  const char* lm_head = nullptr;
};

struct WeightNames {
  const char* embedding = nullptr;
  const char* final_norm = nullptr;
  const char* lm_head = nullptr;
  const char* layer = nullptr;  // stem of a layer's names; {} is its number
  // Under the stem. ".weight" and ".bias" follow q, k, v and o.
  const char* attention_norm = nullptr;
  const char* ffn_norm = nullptr;
  const char* q = nullptr;
  const char* k = nullptr;
  const char* v = nullptr;
  const char* o = nullptr;
  const char* q_norm = nullptr;
  const char* k_norm = nullptr;
  FfnNames dense;
  FfnNames shared;
  const char* shared_router = nullptr;  // [1, hidden] or [hidden]
  NextnNames nextn;
  const MoeNames* moe = nullptr;  // null: the architecture's two spellings
};

extern const WeightNames kHuggingFaceNames;
extern const WeightNames kGgufNames;

// `pattern` with {} replaced by `number`.
std::string numbered(const char* pattern, std::int64_t number);

}  // namespace foregate
