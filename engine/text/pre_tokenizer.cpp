#include "engine/text/pre_tokenizer.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "engine/text/tokenizer_unicode.h"

namespace foregate::tok {
namespace {

struct Segment {
  std::size_t begin, end;
  bool match;
};

// Merges matches with the text before them (MergedWithPrevious), or all neighbours of one kind
// (Contiguous). Of several matches in a row only the first joins, as in the reference library.
std::vector<Segment> merge_forward(const std::vector<Segment>& segments, bool contiguous) {
  std::vector<Segment> merged;
  bool previous_match = false;
  for (const Segment& segment : segments) {
    const bool join = contiguous ? segment.match == previous_match : segment.match && !previous_match;
    if (join && !merged.empty()) {
      merged.back().end = segment.end;
    } else {
      merged.push_back({segment.begin, segment.end, false});
    }
    previous_match = segment.match;
  }
  return merged;
}

std::vector<Segment> merge_backward(const std::vector<Segment>& segments) {
  std::vector<Segment> merged;
  bool previous_match = false;
  for (auto segment = segments.rbegin(); segment != segments.rend(); ++segment) {
    if (segment->match && !previous_match && !merged.empty()) {
      merged.back().begin = segment->begin;
    } else {
      merged.push_back({segment->begin, segment->end, false});
    }
    previous_match = segment->match;
  }
  std::reverse(merged.begin(), merged.end());
  return merged;
}

class Split : public PreTokenizer {
 public:
  Split(Regex pattern, SplitBehavior behavior, bool invert)
      : pattern_(std::move(pattern)), behavior_(behavior), invert_(invert) {}

  Status apply(PieceText* text) const override {
    std::vector<Piece> split;
    split.reserve(text->pieces.size() + text->text.size() / 4);
    RegexScan scan(pattern_);
    std::vector<Segment> segments;
    for (const Piece& piece : text->pieces) {
      const auto subject = std::string_view(text->text).substr(piece.begin, piece.end - piece.begin);
      RETURN_IF_ERROR(find(subject, &scan, &segments));
      if (behavior_ == SplitBehavior::kMergedWithPrevious || behavior_ == SplitBehavior::kContiguous) {
        segments = merge_forward(segments, behavior_ == SplitBehavior::kContiguous);
      } else if (behavior_ == SplitBehavior::kMergedWithNext) {
        segments = merge_backward(segments);
      }
      for (const Segment& segment : segments) {
        const bool removed = behavior_ == SplitBehavior::kRemoved && segment.match;
        if (removed || segment.begin == segment.end) continue;
        split.push_back({piece.begin + segment.begin, piece.begin + segment.end, piece.first && segment.begin == 0});
      }
    }
    text->pieces = std::move(split);
    return {};
  }

 private:
  Status find(std::string_view subject, RegexScan* scan, std::vector<Segment>* segments) const {
    segments->clear();
    scan->start(subject);
    std::size_t done = 0, begin = 0, end = 0;
    while (scan->next(&begin, &end)) {
      if (done != begin) segments->push_back({done, begin, invert_});
      segments->push_back({begin, end, !invert_});
      done = end;
    }
    RETURN_IF_ERROR(scan->status());
    if (done != subject.size()) segments->push_back({done, subject.size(), invert_});
    return {};
  }

  Regex pattern_;
  SplitBehavior behavior_;
  bool invert_;
};

class ByteLevel : public PreTokenizer {
 public:
  ByteLevel(bool add_prefix_space, std::unique_ptr<PreTokenizer> pattern)
      : add_prefix_space_(add_prefix_space), pattern_(std::move(pattern)) {}

  Status apply(PieceText* text) const override {
    if (add_prefix_space_) {
      PieceText spaced;
      for (const Piece& piece : text->pieces) {
        const std::size_t begin = spaced.text.size();
        if (text->text[piece.begin] != ' ') spaced.text.push_back(' ');
        spaced.text.append(text->text, piece.begin, piece.end - piece.begin);
        spaced.pieces.push_back({begin, spaced.text.size(), piece.first});
      }
      *text = std::move(spaced);
    }
    if (pattern_) RETURN_IF_ERROR(pattern_->apply(text));
    PieceText spelled;
    spelled.text.reserve(text->text.size() * 2);
    spelled.pieces.reserve(text->pieces.size());
    for (const Piece& piece : text->pieces) {
      const std::size_t begin = spelled.text.size();
      byte_level_append(std::string_view(text->text).substr(piece.begin, piece.end - piece.begin), &spelled.text);
      spelled.pieces.push_back({begin, spelled.text.size(), piece.first});
    }
    *text = std::move(spelled);
    return {};
  }

 private:
  bool add_prefix_space_;
  std::unique_ptr<PreTokenizer> pattern_;
};

class Metaspace : public PreTokenizer {
 public:
  Metaspace(std::string replacement, PrependScheme scheme, bool split)
      : replacement_(std::move(replacement)), scheme_(scheme), split_(split) {}

  Status apply(PieceText* text) const override {
    PieceText made;
    made.text.reserve(text->text.size() * 2);
    std::string respelled;
    for (const Piece& piece : text->pieces) {
      respelled.clear();
      for (std::size_t i = piece.begin; i < piece.end; ++i) {
        if (text->text[i] == ' ') {
          respelled += replacement_;
        } else {
          respelled.push_back(text->text[i]);
        }
      }
      const bool prepend = scheme_ == PrependScheme::kAlways || (scheme_ == PrependScheme::kFirst && piece.first);
      const std::size_t begin = made.text.size();
      if (prepend && respelled.compare(0, replacement_.size(), replacement_) != 0) made.text += replacement_;
      made.text += respelled;
      cut(begin, piece.first, &made);
    }
    *text = std::move(made);
    return {};
  }

 private:
  // The text from `begin` on as one piece, or as pieces that each start at a replacement mark.
  void cut(std::size_t begin, bool first, PieceText* made) const {
    const std::size_t end = made->text.size();
    std::size_t start = begin;
    while (split_) {
      const std::size_t mark = made->text.find(replacement_, start == begin ? begin + 1 : start + replacement_.size());
      if (mark >= end) break;
      made->pieces.push_back({start, mark, first && start == begin});
      start = mark;
    }
    made->pieces.push_back({start, end, first && start == begin});
  }

  std::string replacement_;
  PrependScheme scheme_;
  bool split_;
};

class Sequence : public PreTokenizer {
 public:
  explicit Sequence(std::vector<std::unique_ptr<PreTokenizer>> steps) : steps_(std::move(steps)) {}
  Status apply(PieceText* text) const override {
    for (const auto& step : steps_) RETURN_IF_ERROR(step->apply(text));
    return {};
  }

 private:
  std::vector<std::unique_ptr<PreTokenizer>> steps_;
};

}  // namespace

std::unique_ptr<PreTokenizer> make_split(Regex pattern, SplitBehavior behavior, bool invert) {
  return std::make_unique<Split>(std::move(pattern), behavior, invert);
}

std::unique_ptr<PreTokenizer> make_byte_level(bool add_prefix_space, std::unique_ptr<PreTokenizer> gpt2_pattern) {
  return std::make_unique<ByteLevel>(add_prefix_space, std::move(gpt2_pattern));
}

std::unique_ptr<PreTokenizer> make_metaspace(std::string replacement, PrependScheme scheme, bool split) {
  return std::make_unique<Metaspace>(std::move(replacement), scheme, split);
}

std::unique_ptr<PreTokenizer> make_pre_tokenizer_sequence(std::vector<std::unique_ptr<PreTokenizer>> steps) {
  return std::make_unique<Sequence>(std::move(steps));
}

}  // namespace foregate::tok
