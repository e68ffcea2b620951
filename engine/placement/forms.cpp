#include "engine/placement/forms.h"

#include <algorithm>
#include <string>

namespace foregate {
namespace {

// The ranks that a row's experts of one layer are on, and how many of them each has.
class Touched {
 public:
  explicit Touched(std::int32_t ranks) : experts_(static_cast<std::size_t>(ranks), 0) {}

  void set(const LayerHomes& homes, std::span<const std::uint16_t> ids) {
    for (const std::int32_t rank : ranks_) experts_[static_cast<std::size_t>(rank)] = 0;
    ranks_.clear();
    for (const std::uint16_t id : ids) {
      const std::int32_t rank = homes[id];
      if (experts_[static_cast<std::size_t>(rank)]++ == 0) ranks_.push_back(rank);
    }
  }
  bool at(std::int32_t rank) const { return experts_[static_cast<std::size_t>(rank)] > 0; }
  double others(std::int32_t rank) const { return static_cast<double>(ranks_.size()) - (at(rank) ? 1.0 : 0.0); }
  // With most of the experts; of equals the one with the expert of the highest score, since ids fall by score.
  std::int32_t most() const {
    return *std::max_element(ranks_.begin(), ranks_.end(), [this](std::int32_t a, std::int32_t b) {
      return experts_[static_cast<std::size_t>(a)] < experts_[static_cast<std::size_t>(b)];
    });
  }

 private:
  std::vector<std::int32_t> experts_;  // by rank
  std::vector<std::int32_t> ranks_;    // in the order of the ids
};

void finish(FormBytes& form, double weight, const RowShape& shape) {
  if (weight <= 0) return;
  form.rows /= weight;
  form.context_bytes /= weight;
  form.bytes = form.rows * static_cast<double>(shape.hidden * shape.value_bytes) + form.context_bytes;
}

}  // namespace

const char* form_name(ExchangeForm form) {
  return form == ExchangeForm::kOneAllToAll ? "one all-to-all" : "two all-to-alls";
}

Result<ExchangeMode> exchange_mode_named(std::string_view name) {
  if (name == "two-all-to-alls") return ExchangeMode::kTwoAllToAlls;
  if (name == "one-all-to-all") return ExchangeMode::kOneAllToAll;
  if (name == "auto") return ExchangeMode::kAuto;
  return invalid_argument("exchange is two-all-to-alls, one-all-to-all or auto, not " + std::string(name), "exchange");
}

FormForecast forecast_forms(const std::vector<LayerHomes>& homes, std::int32_t ranks, const RouteRows& rows,
                            const RowShape& shape) {
  FormForecast forecast;
  Touched touched(ranks);
  double weights = 0.0;
  for (std::size_t row = 0; row < rows.rows(); ++row) {
    const double weight = rows.weight(row);
    const auto home = static_cast<std::int32_t>(row % static_cast<std::size_t>(ranks));
    std::int32_t here = home;
    for (std::size_t l = 0; l < rows.layers(); ++l) {
      touched.set(homes[l], rows.of(l, row));
      forecast.two.rows += weight * 2 * touched.others(home);
      if (!touched.at(here)) {
        here = touched.most();
        forecast.one.rows += weight;
      }
      forecast.one.rows += weight * 2 * touched.others(here);
      forecast.one.context_bytes += weight * static_cast<double>((ranks - 1) * shape.context * shape.value_bytes);
    }
    weights += weight;
  }
  finish(forecast.two, weights, shape);
  finish(forecast.one, weights, shape);
  return forecast;
}

}  // namespace foregate
