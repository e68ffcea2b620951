// The two forms in which ranks can run shared experts, and what each would send between ranks, counted over rows that
// were routed. Pure.
//
// Two all-to-alls (a token returns): a sequence has a home, where attention runs. In each layer a row goes from there
// to every other rank that has some of its experts, and one row of outputs comes back from each. One all-to-all
// (context-coherent, ExFlow, arXiv 2401.08383): keys and values of all sequences are on every rank, so a row goes on
// where its experts were. It moves when none of its experts is where it is, to the rank with most of them; what experts
// elsewhere make of it comes to it as above. Of every row, keys and values of each layer go to all others.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "engine/base/status.h"
#include "engine/placement/affinity.h"
#include "engine/placement/plan.h"

namespace foregate {

struct RowShape {
  std::int64_t hidden = 0;   // values of a row
  std::int64_t context = 0;  // keys and values that a row adds to the context of one layer
  std::int64_t value_bytes = 4;
};

// Per row (token) and step, all layers together.
struct FormBytes {
  double rows = 0.0;           // of `hidden` values that go from one rank to another
  double context_bytes = 0.0;  // of keys and values that do
  double bytes = 0.0;          // of both
};

enum class ExchangeForm { kTwoAllToAlls, kOneAllToAll };
const char* form_name(ExchangeForm form);

// What a server is asked for: one of them, or whichever sends fewer bytes.
enum class ExchangeMode { kTwoAllToAlls, kOneAllToAll, kAuto };
// kInvalidArgument (field exchange) for other words than two-all-to-alls, one-all-to-all and auto.
Result<ExchangeMode> exchange_mode_named(std::string_view name);

struct FormForecast {
  FormBytes two;  // kTwoAllToAlls
  FormBytes one;  // kOneAllToAll
  ExchangeForm better() const {
    return one.bytes < two.bytes ? ExchangeForm::kOneAllToAll : ExchangeForm::kTwoAllToAlls;
  }
};

// `homes[i]` places layer i of the rows. Row r belongs to a sequence at home on rank r % ranks.
FormForecast forecast_forms(const std::vector<LayerHomes>& homes, std::int32_t ranks, const RouteRows& rows,
                            const RowShape& shape);

}  // namespace foregate
