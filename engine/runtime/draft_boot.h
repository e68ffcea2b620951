// What --speculative-config asks for, made: the drafter of an engine and what it is told. Called once, at boot.
#pragma once

#include <optional>
#include <string>

#include "engine/base/status.h"
#include "engine/model/transformer.h"
#include "engine/runtime/boot.h"
#include "engine/runtime/engine_parts.h"

namespace foregate {

// What a draft model runs on: that of the target, which it must not outlive.
struct DraftHost {
  Device& device;
  const OpTable& ops;
  Stream& stream;
  std::optional<LoadPacking> packing;
  std::int32_t vocab_size = 0;     // of the target
  std::int32_t max_model_len = 0;  // of the target
  const Transformer* target = nullptr;
};

// No drafter when nothing is asked for. `said` gets one line for the log and the status page. A draft model takes its
// weights and its cache here, so before the KV cache of the target is sized.
Status choose_drafter(const BootOptions& options, const DraftHost& host, SpeculationParts& parts, std::string& said);

}  // namespace foregate
