#include "engine/model/expert_rows.h"

#include <algorithm>
#include <cstring>

namespace foregate {
namespace {

// layer, rows, groups, assignments, prompt, numbers about rows that stood, part, of how many, half
constexpr std::size_t kFixed = 9;
constexpr std::size_t kFixedBytes = kFixed * sizeof(std::int32_t);

std::byte* put(std::byte* at, const std::vector<std::int32_t>& values) {
  if (!values.empty()) std::memcpy(at, values.data(), values.size() * sizeof(std::int32_t));
  return at + values.size() * sizeof(std::int32_t);
}

std::size_t stood_numbers(const std::vector<StoodRows>& stood) {
  std::size_t numbers = 0;
  for (const StoodRows& place : stood) numbers += 1 + 2 * place.experts.size();
  return numbers;
}

std::uint64_t most_stood_numbers(const ExpertRowsLimits& limits) {
  return kMaxStoodPlaces * (1 + 2 * static_cast<std::uint64_t>(limits.experts));
}

const std::byte* get(const std::byte* at, std::vector<std::int32_t>& values) {
  if (!values.empty()) std::memcpy(values.data(), at, values.size() * sizeof(std::int32_t));
  return at + values.size() * sizeof(std::int32_t);
}

// Place after place: how many experts, which, and the rows of each.
Status read_stood(std::span<const std::int32_t> numbers, const ExpertRowsLimits& limits,
                  std::vector<StoodRows>& stood) {
  stood.clear();
  while (!numbers.empty()) {
    const std::int32_t count = numbers[0];
    if (count < 1 || count > limits.experts || 1 + 2 * static_cast<std::size_t>(count) > numbers.size() ||
        stood.size() == kMaxStoodPlaces) {
      return data_loss("an exchange tells of " + std::to_string(count) + " experts of drafts");
    }
    const auto experts = numbers.subspan(1, static_cast<std::size_t>(count));
    const auto rows = numbers.subspan(1 + experts.size(), experts.size());
    for (std::size_t i = 0; i < experts.size(); ++i) {
      const bool ascends = i == 0 || experts[i] > experts[i - 1];
      if (ascends && experts[i] >= 0 && experts[i] < limits.experts && rows[i] >= 1 && rows[i] <= limits.max_rows)
        continue;
      return data_loss("an exchange tells of " + std::to_string(rows[i]) + " rows of drafts of expert " +
                       std::to_string(experts[i]));
    }
    stood.push_back({{experts.begin(), experts.end()}, {rows.begin(), rows.end()}});
    numbers = numbers.subspan(1 + 2 * experts.size());
  }
  return {};
}

Status check_part(const ExchangePart& part) {
  const bool fits = part.of >= 1 && part.of <= kMaxExchangeParts && part.number >= 0 && part.number < part.of &&
                    part.half >= 0 && part.half <= 2;
  if (fits) return {};
  return data_loss("a message is part " + std::to_string(part.number) + " of " + std::to_string(part.of) + " of half " +
                   std::to_string(part.half));
}

Status check_indices(const ExpertRows& rows, const ExpertRowsLimits& limits) {
  std::int64_t sum = 0;
  for (std::size_t g = 0; g < rows.experts.size(); ++g) {
    const bool ascends = g == 0 || rows.experts[g] > rows.experts[g - 1];
    if (!ascends || rows.experts[g] < 0 || rows.experts[g] >= limits.experts) {
      return data_loss("an exchange names expert " + std::to_string(rows.experts[g]));
    }
    if (rows.group_rows[g] < 1 || rows.group_rows[g] > rows.rows_before + rows.rows) {
      return data_loss("an exchange has " + std::to_string(rows.group_rows[g]) + " rows of one expert");
    }
    if (rows.drafted[g] < 0 || rows.drafted[g] > rows.group_rows[g]) {
      return data_loss("an exchange has " + std::to_string(rows.drafted[g]) + " drafted rows of one expert");
    }
    sum += rows.group_rows[g];
  }
  if (sum != static_cast<std::int64_t>(rows.x_rows.size())) return data_loss("the groups of an exchange do not add up");
  for (const std::int32_t row : rows.x_rows) {
    if (row < 0 || row >= rows.rows_before + rows.rows)
      return data_loss("an exchange names row " + std::to_string(row));
  }
  return {};
}

}  // namespace

std::uint64_t max_rows_bytes(const ExpertRowsLimits& limits) {
  const auto rows = static_cast<std::uint64_t>(limits.max_rows);
  const std::uint64_t indices = 3 * static_cast<std::uint64_t>(limits.experts) +
                                rows * static_cast<std::uint64_t>(limits.top_k) + most_stood_numbers(limits);
  return kFixedBytes + (indices + rows * static_cast<std::uint64_t>(limits.hidden)) * sizeof(float);
}

std::uint64_t max_outputs_bytes(const ExpertRowsLimits& limits) {
  return static_cast<std::uint64_t>(limits.max_rows) * static_cast<std::uint64_t>(limits.top_k) *
         static_cast<std::uint64_t>(limits.hidden) * sizeof(float);
}

std::span<std::byte> write_rows(const ExpertRows& rows, std::int64_t hidden, std::vector<std::byte>& body) {
  const std::size_t stood = stood_numbers(rows.stood);
  const std::size_t indices = 3 * rows.experts.size() + rows.x_rows.size() + stood;
  const std::size_t values = static_cast<std::size_t>(rows.rows * hidden) * sizeof(float);
  body.resize(kFixedBytes + indices * sizeof(std::int32_t) + values);
  const std::int32_t fixed[kFixed] = {rows.layer.value,
                                      static_cast<std::int32_t>(rows.rows),
                                      static_cast<std::int32_t>(rows.experts.size()),
                                      static_cast<std::int32_t>(rows.x_rows.size()),
                                      rows.prompt ? 1 : 0,
                                      static_cast<std::int32_t>(stood),
                                      rows.part.number,
                                      rows.part.of,
                                      rows.part.half};
  std::memcpy(body.data(), fixed, sizeof fixed);
  std::byte* at = put(body.data() + kFixedBytes, rows.experts);
  at = put(at, rows.group_rows);
  at = put(at, rows.drafted);
  at = put(at, rows.x_rows);
  for (const StoodRows& place : rows.stood) {
    at = put(at, {static_cast<std::int32_t>(place.experts.size())});
    at = put(at, place.experts);
    at = put(at, place.rows);
  }
  return {at, values};
}

Status read_rows(std::span<const std::byte> body, const ExpertRowsLimits& limits, std::int64_t rows_before,
                 ExpertRows& rows, std::span<const std::byte>& values) {
  if (body.size() < kFixedBytes) return data_loss("an exchange of " + std::to_string(body.size()) + " bytes");
  std::int32_t fixed[kFixed];
  std::memcpy(fixed, body.data(), sizeof fixed);
  const auto [layer, count, groups, assignments, prompt, stood, part, parts, half] = fixed;
  RETURN_IF_ERROR(check_part({part, parts, half}));
  if (part == 0) rows_before = 0;
  if (layer < 0 || layer >= limits.layers) return data_loss("an exchange is of layer " + std::to_string(layer));
  if (count < (part == 0 ? 1 : 0) || count > limits.max_rows - rows_before) {
    return data_loss("an exchange has " + std::to_string(count) + " rows");
  }
  if (groups < 1 || groups > limits.experts) return data_loss("an exchange has " + std::to_string(groups) + " groups");
  if (assignments < groups || assignments > (rows_before + count) * limits.top_k) {
    return data_loss("an exchange has " + std::to_string(assignments) + " outputs");
  }
  if (prompt != 0 && prompt != 1) return data_loss("an exchange is of a step of kind " + std::to_string(prompt));
  if (stood < 0 || static_cast<std::uint64_t>(stood) > most_stood_numbers(limits)) {
    return data_loss("an exchange has " + std::to_string(stood) + " numbers about drafts");
  }
  const std::uint64_t indices = 3 * static_cast<std::uint64_t>(groups) + static_cast<std::uint64_t>(assignments) +
                                static_cast<std::uint64_t>(stood);
  const std::uint64_t floats = static_cast<std::uint64_t>(count) * static_cast<std::uint64_t>(limits.hidden);
  if (body.size() != kFixedBytes + (indices + floats) * sizeof(float)) {
    return data_loss("an exchange of " + std::to_string(body.size()) + " bytes does not hold what it says");
  }
  rows.layer = LayerId{layer};
  rows.prompt = prompt == 1;
  rows.rows = count;
  rows.rows_before = rows_before;
  rows.part = {part, parts, half};
  rows.experts.resize(static_cast<std::size_t>(groups));
  rows.group_rows.resize(static_cast<std::size_t>(groups));
  rows.drafted.resize(static_cast<std::size_t>(groups));
  rows.x_rows.resize(static_cast<std::size_t>(assignments));
  std::vector<std::int32_t> numbers(static_cast<std::size_t>(stood));
  const std::byte* at = get(body.data() + kFixedBytes, rows.experts);
  at = get(at, rows.group_rows);
  at = get(at, rows.drafted);
  at = get(at, rows.x_rows);
  at = get(at, numbers);
  values = {at, static_cast<std::size_t>(floats) * sizeof(float)};
  RETURN_IF_ERROR(read_stood(numbers, limits, rows.stood));
  return check_indices(rows, limits);
}

// 1: the file is damaged; 0: anything else.
std::vector<std::byte> write_failure(const Status& failed) {
  const std::string text = failed.message().substr(0, kMaxFailureBytes - 1);
  std::vector<std::byte> body(1 + text.size());
  body[0] = static_cast<std::byte>(failed.code() == Code::kDataLoss ? 1 : 0);
  std::memcpy(body.data() + 1, text.data(), text.size());
  return body;
}

Status read_failure(std::span<const std::byte> body) {
  if (body.empty() || body.size() > kMaxFailureBytes || std::to_integer<int>(body[0]) > 1) {
    return data_loss("an answer that says nothing");
  }
  const std::string text(reinterpret_cast<const char*>(body.data()) + 1, body.size() - 1);
  return Status(std::to_integer<int>(body[0]) == 1 ? Code::kDataLoss : Code::kUnavailable, text);
}

}  // namespace foregate
