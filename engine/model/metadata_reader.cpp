#include "engine/model/metadata_reader.h"

#include <cstdio>

namespace foregate {
namespace {

std::string range_text(const std::string& low, const std::string& high) {
  return "must lie between " + low + " and " + high;
}

std::string short_number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%g", value);
  return text;
}

}  // namespace

MetadataReader::MetadataReader(const GgufHeader& header, std::string file, std::string prefix)
    : header_(header), file_(std::move(file)), prefix_(std::move(prefix)) {}

void MetadataReader::fail(Code code, const char* key, const std::string& what) {
  const std::string name = prefix_ + key;
  if (status_.ok()) status_ = Status(code, file_ + ": " + name + " " + what, name);
}

void MetadataReader::refuse(const char* key, const std::string& what) {
  fail(Code::kUnimplemented, key, what);
}

void MetadataReader::reject(const char* key, const std::string& what) {
  fail(Code::kInvalidArgument, key, what);
}

void MetadataReader::merge(const Status& status) {
  if (status_.ok()) status_ = status;
}

const GgufValue* MetadataReader::find(const char* key) const {
  return header_.find(prefix_ + key);
}

bool MetadataReader::has(const char* key) const {
  return find(key) != nullptr;
}

const GgufValue* MetadataReader::single(const char* key) {
  const GgufValue* value = find(key);
  if (value == nullptr) reject(key, "is missing");
  if (value == nullptr || !value->is_array) return value;
  refuse(key, "is an " + value->description() + "; one value for the whole model is supported");
  return nullptr;
}

std::int64_t MetadataReader::integer(const char* key, std::int64_t low, std::int64_t high) {
  const GgufValue* value = single(key);
  if (value == nullptr) return low;
  const auto number = value->integer();
  if (number && *number >= low && *number <= high) return *number;
  if (!number && value->type != GgufType::kU64) {
    reject(key, std::string("is a ") + gguf_type_name(value->type) + ", not an integer");
  } else {
    reject(key, range_text(std::to_string(low), std::to_string(high)));
  }
  return low;
}

std::int64_t MetadataReader::integer_or(const char* key, std::int64_t low, std::int64_t high, std::int64_t fallback) {
  return has(key) ? integer(key, low, high) : fallback;
}

double MetadataReader::number(const char* key, double low, double high) {
  const GgufValue* value = single(key);
  if (value == nullptr) return low;
  const auto number = value->number();
  if (number && *number >= low && *number <= high) return *number;  // false for NaN
  if (number) {
    reject(key, range_text(short_number(low), short_number(high)));
  } else {
    reject(key, std::string("is a ") + gguf_type_name(value->type) + ", not a number");
  }
  return low;
}

double MetadataReader::number_or(const char* key, double low, double high, double fallback) {
  return has(key) ? number(key, low, high) : fallback;
}

bool MetadataReader::boolean_or(const char* key, bool fallback) {
  if (!has(key)) return fallback;
  const GgufValue* value = single(key);
  if (value == nullptr) return fallback;
  if (const auto flag = value->boolean()) return *flag;
  reject(key, std::string("is a ") + gguf_type_name(value->type) + ", not a bool");
  return fallback;
}

std::string MetadataReader::text_or(const char* key, const std::string& fallback) {
  if (!has(key)) return fallback;
  const GgufValue* value = single(key);
  if (value == nullptr) return fallback;
  if (value->type == GgufType::kText) return value->texts.front();
  reject(key, std::string("is a ") + gguf_type_name(value->type) + ", not a string");
  return fallback;
}

}  // namespace foregate
