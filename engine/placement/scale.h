// How long a decode step takes when ranks share the experts, from what one rank's work takes and what a message costs
// (alpha + bytes / beta, Hockney 1994). Pure. The figures that go in are measured or a machine's data sheet; what comes
// out is as good as they are.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace foregate {

struct LinkCost {
  double alpha = 0.0;             // seconds of a message, however small
  double bytes_per_second = 1e9;  // beta
  double seconds(double bytes) const { return alpha + bytes / bytes_per_second; }
};

// What a model asks for, by its dimensions.
struct ScaleModel {
  std::int32_t sparse_layers = 0;
  std::int32_t dense_layers = 0;
  std::int64_t hidden = 0;
  std::int32_t experts = 0;
  std::int32_t top_k = 1;
  double expert_bytes = 0;       // weights of one expert
  double layer_bytes = 0;        // of a layer with experts: all but those
  double dense_layer_bytes = 0;  // of a layer without
  double head_bytes = 0;         // of the vocabulary projection
  double weight_bytes_per_value = 2;
  double row_value_bytes = 2;  // of a value that travels
  double context_bytes = 0;    // keys and values of one position, all layers
};

// One rank: how fast it reads weights and multiplies, and what a layer takes beside that.
struct ScaleRank {
  double bytes_per_second = 1e9;
  double flops_per_second = 1e9;
  double layer_seconds = 0.0;
};

struct ScaleFabric {
  std::int32_t ranks = 1;
  std::int32_t ranks_per_node = 8;
  LinkCost near;  // between ranks of a node
  LinkCost far;   // between nodes, of each rank
};

struct ScaleStep {
  std::int32_t rows = 1;   // of all ranks together, each a sequence that decodes
  double context = 0.0;    // positions of each
  double distinct = 0.0;   // ranks that a row's experts of one layer are on, mean; 0: experts chosen evenly
  double imbalance = 1.0;  // rows of the most loaded rank over the mean
};

struct StepTimes {
  double dense = 0.0;  // attention, shared parts and head
  double experts = 0.0;
  double exchange = 0.0;  // both ways
  double step() const { return dense + experts + exchange; }
};

// Attention data-parallel: each rank has rows / ranks sequences. Experts of the rank with most rows. In an exchange a
// rank sends to every other rank at once and link by link, near and far beside each other.
StepTimes step_times(const ScaleModel& model, const ScaleRank& rank, const ScaleFabric& fabric, const ScaleStep& step);

// Experts of `experts` that `rows` rows choose at least once, top_k each, chosen evenly.
double experts_met(double experts, double top_k, double rows);
// Ranks that a row's top_k experts are on, chosen evenly.
double ranks_met(std::int32_t experts, std::int32_t top_k, std::int32_t ranks);

// The ranks of one machine as the server runs them on the CPU, a thread each: rank 0 has attention, sends rows to the
// others one after another, runs its own experts, and takes the answers one after another. Ranks beyond the cores wait
// for one: that of rank 0 is free once its experts are done.
struct StarRanks {
  std::int32_t layers = 0;   // with experts
  std::int32_t experts = 0;  // of each, spread evenly
  std::int32_t top_k = 1;
  std::int32_t ranks = 1;
  std::int32_t cores = 1;
  double dense_seconds = 0.0;       // of a step on rank 0, without experts
  double expert_seconds = 0.0;      // of one expert,
  double expert_row_seconds = 0.0;  // and of each of its rows beyond the first
  double row_bytes = 0.0;           // of a row on its way
  double send_seconds = 0.0;        // that a message takes of who sends it; a part of link.alpha
  double ask_seconds = 0.0;         // that rank 0 spends on each rank it asks, beside the message,
  double output_seconds = 0.0;      // and on each output that it takes
  LinkCost link;                    // from the first byte sent to the last received
};
// A step of `rows` rows, of which each chooses its experts evenly; a mean over draws that are the same every time.
StepTimes star_times(const StarRanks& star, std::int32_t rows);
// A step whose rows chose these: [layers][rows * top_k]. Several steps are a mean.
using StarRoutes = std::vector<std::vector<std::int32_t>>;
StepTimes star_times(const StarRanks& star, std::span<const StarRoutes> steps);

// Steps that were measured on some ranks, and what was predicted of them without ask_seconds and output_seconds: sets
// those two, least squares of what is missing, neither below 0. They grow with ranks asked and outputs taken.
struct StarMissing {
  std::span<const StarRoutes> steps;
  double seconds = 0.0;  // measured less predicted, of a step
};
void fit_exchange(std::span<const StarMissing> missing, StarRanks& star);

}  // namespace foregate
