// Latency against rate, drawn as an SVG. Part of load_result.h.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "tools/load/load_result.h"

namespace foregate {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kWidth = 720, kHeight = 360, kLeft = 70, kRight = 20, kTop = 40, kBottom = 50;

struct Line {
  std::string field;
  std::string name;
  const char* colour;
};

// The median and the highest percentile of each metric that the reports have.
std::vector<Line> lines_of(const Json& report) {
  std::vector<Line> lines;
  const auto add = [&](const std::string& metric, const std::string& shown, const char* dark, const char* light) {
    const std::string ending = "_" + metric + "_ms";
    if (!report.contains("median" + ending)) return;
    lines.push_back({"median" + ending, shown + ", median", dark});
    std::string highest;
    for (const auto& [field, value] : report.items()) {
      if (field.front() == 'p' && field.size() > ending.size() && field.ends_with(ending)) highest = field;
    }
    if (highest.empty()) return;
    lines.push_back({highest, shown + ", " + highest.substr(0, highest.size() - ending.size()), light});
  };
  add("ttft", "TTFT", "#1f6f78", "#7cb9c0");
  add("tpot", "TPOT", "#b3501e", "#e0a37e");
  return lines;
}

std::string number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, value < 10 ? "%.2f" : "%.0f", value);
  return text;
}

// The rate that was asked for, else the one that came out.
double rate_of(const Json& report) {
  const Json& rate = report["request_rate"];
  return rate.is_number() ? rate.get<double>() : report["request_throughput"].get<double>();
}

std::string tick(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.6g", value);
  return text;
}

// One, two or five times a power of ten: at most five such steps reach `most`.
double step_of(double most) {
  const double least = most / 5, power = std::pow(10, std::floor(std::log10(least)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (factor * power >= least) return factor * power;
  }
  return 10 * power;
}

struct Frame {
  double most_x = 1e-9, most_y = 1e-9;  // multiples of the steps, once round() was called
  double step_x = 1, step_y = 1;
  void round() {
    step_x = step_of(most_x), step_y = step_of(most_y);
    most_x = step_x * std::ceil(most_x / step_x), most_y = step_y * std::ceil(most_y / step_y);
  }
  double x(double value) const { return kLeft + value / most_x * (kWidth - kLeft - kRight); }
  double y(double value) const { return kHeight - kBottom - value / most_y * (kHeight - kTop - kBottom); }
};

std::string text_at(double x, double y, const char* anchor, const std::string& text) {
  return "<text x=\"" + number(x) + "\" y=\"" + number(y) + "\" text-anchor=\"" + anchor + "\">" + text + "</text>\n";
}

std::string axes(const Frame& frame) {
  std::string out;
  for (int i = 0; i <= std::lround(frame.most_y / frame.step_y); ++i) {
    const double y = frame.step_y * i;
    out += "<path d=\"M" + std::to_string(kLeft) + " " + number(frame.y(y)) + "H" + std::to_string(kWidth - kRight) +
           "\" stroke=\"#d5dbde\"/>\n" + text_at(kLeft - 8, frame.y(y) + 4, "end", tick(y));
  }
  for (int i = 0; i <= std::lround(frame.most_x / frame.step_x); ++i) {
    out += text_at(frame.x(frame.step_x * i), kHeight - kBottom + 18, "middle", tick(frame.step_x * i));
  }
  out += text_at(kLeft - 8, 16, "end", "ms");
  return out + text_at((kLeft + kWidth) / 2.0, kHeight - 10, "middle", "requests per second");
}

}  // namespace

std::string load_plot(const std::vector<Json>& reports) {
  std::vector<Json> sorted = reports;
  std::sort(sorted.begin(), sorted.end(), [](const Json& a, const Json& b) { return rate_of(a) < rate_of(b); });
  Frame frame;
  const std::vector<Line> lines = sorted.empty() ? std::vector<Line>() : lines_of(sorted.front());
  for (const Json& report : sorted) {
    frame.most_x = std::max(frame.most_x, rate_of(report));
    for (const Line& line : lines) frame.most_y = std::max(frame.most_y, report[line.field].get<double>());
  }
  frame.round();
  std::string out = "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"" + std::to_string(kWidth) + "\" height=\"" +
                    std::to_string(kHeight) +
                    "\" font-family=\"sans-serif\" font-size=\"12\" fill=\"#1b2327\">\n"
                    "<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n" +
                    axes(frame);
  double legend = kLeft;
  for (const Line& line : lines) {
    std::string points;
    for (const Json& report : sorted) {
      const std::string x = number(frame.x(rate_of(report))), y = number(frame.y(report[line.field].get<double>()));
      points += x + "," + y + " ";
      out += "<circle cx=\"" + x + "\" cy=\"" + y + "\" r=\"3\" fill=\"" + line.colour + "\"/>\n";
    }
    out += "<polyline fill=\"none\" stroke-width=\"2\" stroke=\"" + std::string(line.colour) + "\" points=\"" + points +
           "\"/>\n";
    out += "<rect x=\"" + number(legend) + "\" y=\"22\" width=\"12\" height=\"4\" fill=\"" + line.colour + "\"/>\n";
    out += text_at(legend + 18, 28, "start", line.name);
    legend += 140;
  }
  return out + "</svg>\n";
}

}  // namespace foregate
