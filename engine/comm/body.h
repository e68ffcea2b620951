// Writes and reads the body of a message, value after value, little-endian as the machine is. A reader takes nothing
// that is not there.
#pragma once

#include <cstddef>
#include <cstring>
#include <span>
#include <type_traits>
#include <vector>

namespace foregate {

class BodyWriter {
 public:
  explicit BodyWriter(std::vector<std::byte>& body) : body_(body) { body_.clear(); }
  template <class T>
  void put(const T& value) {
    put(std::span<const T>(&value, 1));
  }
  template <class T>
  void put(std::span<const T> values) {
    static_assert(std::is_trivially_copyable_v<T>);
    if (!values.empty()) std::memcpy(grow(values.size_bytes()), values.data(), values.size_bytes());
  }
  // Room for so many bytes, to be filled before the next call.
  std::byte* grow(std::size_t bytes) {
    body_.resize(body_.size() + bytes);
    return body_.data() + body_.size() - bytes;
  }

 private:
  std::vector<std::byte>& body_;
};

class BodyReader {
 public:
  explicit BodyReader(std::span<const std::byte> body) : left_(body) {}
  template <class T>
  bool take(T& value) {
    return take(std::span<T>(&value, 1));
  }
  template <class T>
  bool take(std::span<T> values) {
    static_assert(std::is_trivially_copyable_v<T>);
    if (values.size_bytes() > left_.size()) return false;
    if (!values.empty()) std::memcpy(values.data(), left_.data(), values.size_bytes());
    left_ = left_.subspan(values.size_bytes());
    return true;
  }
  // The next `bytes`, in place.
  bool skip(std::size_t bytes, std::span<const std::byte>& piece) {
    if (bytes > left_.size()) return false;
    piece = left_.first(bytes);
    left_ = left_.subspan(bytes);
    return true;
  }
  std::size_t left() const { return left_.size(); }

 private:
  std::span<const std::byte> left_;
};

}  // namespace foregate
