// What a model routed: for every layer of every step the rows, their experts and weights, and what was in memory.
// Written while a model runs (trace_writer.h), read by the replay (trace_reader.h).
//
// The file, version 3; integers and floats little-endian:
//
//   header
//     0   "FGROUTES"
//     8   u32 version     12  u32 bytes of the header, with its checksum
//     16  u64 weights_id of the packed model, 0 when it is not packed
//     24  u64 slots of the tier that ran, 0 when all experts were in memory
//     32  u32 layers      36  u32 top_k
//     40  u32 bytes of the model's name, u32 bytes of the policy's name; both names, UTF-8
//         per layer: u32 experts (0: dense), u64 bytes of one expert in memory
//         per layer with experts: (experts + 7) / 8 bytes, bit e % 8 of byte e / 8 set: expert e was in memory at start
//         u32 1 when the policy began with use counters, else 0; with 1, per layer with experts: experts times f32
//         u64 XXH3-64 of all before
//   frames, one per step, then one that ends the file
//     0   u32 kind: 1 step, 2 end      4  u32 bytes of the payload
//     8   u64 XXH3-64 of the payload
//     16  payload
//   payload of a step
//     i64 step, ascending       u32 phase: 0 decode, 1 prefill     u32 rows     u32 layers that follow
//     per row: u64 request, i32 position
//     (rows + 7) / 8 bytes, a bit per row: it is of a prompt; the phase is 1 when any is
//     (rows + 7) / 8 bytes, a bit per row: it is of a draft, and of no prompt
//     (rows + 7) / 8 bytes, a bit per row: it is of a draft, and stood; other rows of drafts were rejected
//     per layer, ascending: u32 layer, u32 flags (bit 0: streamed, bit 1: reads ahead), rows * top_k times u16 expert,
//       rows * top_k times f32 weight,
//       (rows * top_k + 7) / 8 bytes with a bit per expert: it was in memory when the step asked for it
//   payload of the end: u64 number of steps
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "engine/experts/eviction.h"
#include "engine/experts/expert_key.h"

namespace foregate {

inline constexpr std::uint32_t kTraceVersion = 3;
inline constexpr std::uint32_t kMaxTraceRows = 1 << 18;  // of one step

// What does not change from step to step.
struct TraceInfo {
  std::string model;             // its name
  std::uint64_t weights_id = 0;  // PackedIndex::weights_id(); 0: not packed
  std::int32_t top_k = 1;
  std::vector<std::int32_t> experts;        // of each layer; 0: a dense one
  std::vector<std::uint64_t> expert_bytes;  // of one expert of each layer, in memory
  std::uint64_t slots = 0;                  // of the tier; 0: all experts in memory
  std::string policy;                       // of the tier; empty when there is none
  std::vector<ExpertKey> resident;          // in memory before the first step, ascending; not used when slots is 0
  UseCounters counters;                     // that the policy began with; empty: it knew nothing
};

// One layer of one step, after routing. Spans are valid during the call.
struct LayerRoutes {
  std::int64_t step = 0;  // counts steps; ascending
  UsePhase phase = UsePhase::kDecode;
  LayerId layer;
  std::span<const std::uint64_t> requests;     // [rows] whose row it is; the same in all layers of a step
  std::span<const std::int32_t> positions;     // [rows]
  std::span<const std::int32_t> ids;           // [rows, top_k]
  std::span<const float> weights;              // [rows, top_k]
  std::span<const std::uint8_t> resident;      // [rows, top_k] 1: in memory when the step asked for it; empty: all were
  bool streamed = false;                       // its missing experts passed by the slots of the tier
  std::span<const std::uint8_t> prompt = {};   // [rows] 1: of a prompt; empty: all are what `phase` says
  bool reads_ahead = false;                    // ExpertStore::reads_ahead() of its phase
  std::span<const std::uint8_t> drafted = {};  // [rows] 1: of a draft; empty: none
};

// Where the MoE layers tell what they routed. Called on the thread that runs the step; layers ascend within a step.
// A step that failed was told up to the layer that failed.
class RouteSink {
 public:
  virtual ~RouteSink() = default;
  virtual void on_routes(const LayerRoutes& routes) = 0;
  // After the layers of a step with drafts: the rows of these that stood, [rows] 1. Where it is not called, none did.
  virtual void on_drafts_stood(std::int64_t step, std::span<const std::uint8_t> stood) {
    static_cast<void>(step), static_cast<void>(stood);
  }
};

// One step as it comes out of a file.
struct TraceLayer {
  LayerId layer;
  bool streamed = false;
  bool reads_ahead = false;
  std::vector<std::int32_t> ids;
  std::vector<float> weights;
  std::vector<std::uint8_t> resident;
};
struct TraceStep {
  std::int64_t step = 0;
  UsePhase phase = UsePhase::kDecode;
  std::vector<std::uint64_t> requests;
  std::vector<std::int32_t> positions;
  std::vector<TraceLayer> layers;
  std::vector<std::uint8_t> prompt = {};   // as in LayerRoutes
  std::vector<std::uint8_t> drafted = {};  // likewise
  std::vector<std::uint8_t> stood = {};    // [rows] 1: of a draft that stood; empty: none
  // Whether the row became part of a text: all but those of drafts that were rejected.
  bool counts(std::size_t row) const { return drafted.empty() || drafted[row] == 0 || stood[row] != 0; }
};

// The distinct experts of [rows, top_k] ids, ascending, and how many rows chose each: what LayerUse wants.
struct DistinctExperts {
  std::vector<std::int32_t> experts;
  std::vector<std::int32_t> rows;
  std::vector<std::int32_t> decode_rows;   // empty where LayerUse takes none
  std::vector<std::int32_t> drafted_rows;  // likewise
};
void find_distinct(std::span<const std::int32_t> ids, DistinctExperts& out);  // decode_rows is left empty
void find_distinct(const TraceStep& step, const TraceLayer& layer, DistinctExperts& out);
// Of the rows at one place of all drafts, 1 being right behind the newest tokens, those that stood.
void find_stood(const TraceStep& step, const TraceLayer& layer, std::int32_t place, DistinctExperts& out);
std::int32_t longest_stood(const TraceStep& step);  // the last place at which a row stood; 0: none did

}  // namespace foregate
