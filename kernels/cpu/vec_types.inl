// Storage types of 16-bit floats and the sizes every vec_*.inl works with. Included inside the
// unnamed namespace of one table_<isa>.cpp, like every .inl of this folder, so that no symbol
// compiled with ISA flags can be shared with other code.

struct Bf16 {
  std::uint16_t bits;
};
struct F16 {
  std::uint16_t bits;
};

// E4M3. load() of sixteen gives their values * 2^-8.
struct F8 {
  std::uint8_t bits;
};

// A code that a scale elsewhere belongs to; load() gives the code.
struct I8 {
  std::int8_t code;
};

constexpr int kLanes = 16;
static_assert(kLanes == kRowInterleave);
constexpr int kQuantRowBytes = 64;  // sizeof(QuantRow)
