// Metrics over prometheus-cpp, kept out of other folders' headers. Thread-safe; a handle stays
// valid as long as its registry. Names and buckets follow vLLM where the meaning is the same.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

namespace foregate {

using Labels = std::map<std::string, std::string>;

class Counter {
 public:
  virtual ~Counter() = default;
  virtual void add(double amount = 1.0) = 0;
  virtual double value() const = 0;
};

class Gauge {
 public:
  virtual ~Gauge() = default;
  virtual void set(double value) = 0;
  virtual double value() const = 0;
};

class Histogram {
 public:
  virtual ~Histogram() = default;
  virtual void observe(double value) = 0;
};

class Metrics {
 public:
  Metrics();
  ~Metrics();
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;
  // The same name and labels give the same series. Counter names are given without "_total".
  Counter& counter(const std::string& name, const std::string& help, const Labels& labels = {});
  Gauge& gauge(const std::string& name, const std::string& help, const Labels& labels = {});
  Histogram& histogram(const std::string& name, const std::string& help, const std::vector<double>& buckets,
                       const Labels& labels = {});
  std::string prometheus_text() const;  // exposition format 0.0.4

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Bucket bounds in seconds, as vLLM has them.
const std::vector<double>& ttft_buckets();
const std::vector<double>& itl_buckets();
const std::vector<double>& latency_buckets();

}  // namespace foregate
