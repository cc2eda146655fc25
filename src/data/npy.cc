#include "data/npy.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <utility>

#include "data/array.h"
#include "halfsafe/error.h"

namespace halfsafe {
namespace {

constexpr std::string_view kMagic = "\x93NUMPY";
/// numpy refuses headers of more than 10000 characters by default; nobody writes longer ones.
constexpr size_t kMaxHeader = 1u << 20;
/// numpy aligns the first element to this.
constexpr size_t kAlignment = 64;

struct Kind {
  std::string_view code;  ///< What follows the byte order in 'descr'.
  DType dtype;
};

/// The first code of a dtype is the one that is written.
constexpr Kind kKinds[] = {
    {"b1", DType::kBool},     {"i1", DType::kInt8},    {"i2", DType::kInt16},  {"i4", DType::kInt32},
    {"i8", DType::kInt64},    {"u1", DType::kUint8},   {"u2", DType::kUint16}, {"u4", DType::kUint32},
    {"u8", DType::kUint64},   {"f2", DType::kFloat16}, {"f4", DType::kFloat},  {"f8", DType::kDouble},
    {"V2", DType::kBfloat16},
};

/// Reads the Python dictionary that is the header of a .npy. Only the literals that numpy writes are
/// understood.
class HeaderParser {
 public:
  HeaderParser(std::string_view text, std::string_view where) : text_(text), where_(where) {}

  NpyHeader Parse() {
    NpyHeader header;
    bool descr = false, order = false, shape = false;
    Expect('{');
    while (!Accept('}')) {
      const std::string_view key = QuotedString();
      Expect(':');
      if (key == "descr" && !std::exchange(descr, true)) {
        ParseDescr(header);
      } else if (key == "fortran_order" && !std::exchange(order, true)) {
        header.fortran_order = Bool();
      } else if (key == "shape" && !std::exchange(shape, true)) {
        header.shape = Tuple();
      } else {
        Fail(fmt::format("has an unexpected key '{}'", key));
      }
      if (!Accept(',')) {
        Expect('}');
        break;
      }
    }
    SkipSpace();
    if (at_ != text_.size()) Fail("goes on after its end");
    if (!descr || !order || !shape) Fail("lacks one of 'descr', 'fortran_order' and 'shape'");
    return header;
  }

 private:
  [[noreturn]] void Fail(std::string_view what) const {
    throw BadInput(fmt::format("{}: the .npy header {} (at character {})", where_, what, at_));
  }

  void SkipSpace() {
    while (at_ < text_.size() && std::strchr(" \t\n", text_[at_]) != nullptr && text_[at_] != '\0') ++at_;
  }

  bool Accept(char c) {
    SkipSpace();
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }

  void Expect(char c) {
    if (!Accept(c)) Fail(fmt::format("has no '{}' where one is expected", c));
  }

  std::string_view QuotedString() {
    SkipSpace();
    if (at_ >= text_.size() || (text_[at_] != '\'' && text_[at_] != '"'))
      Fail("has no string where one is expected");
    const size_t end = text_.find(text_[at_], at_ + 1);
    if (end == std::string_view::npos) Fail("has a string without an end");
    const std::string_view content = text_.substr(at_ + 1, end - at_ - 1);
    at_ = end + 1;
    return content;
  }

  bool Bool() {
    SkipSpace();
    for (const std::string_view word : {"True", "False"}) {
      if (text_.substr(at_).starts_with(word)) {
        at_ += word.size();
        return word == "True";
      }
    }
    Fail("has a 'fortran_order' that is neither True nor False");
  }

  std::vector<int64_t> Tuple() {
    std::vector<int64_t> values;
    Expect('(');
    while (!Accept(')')) {
      SkipSpace();
      int64_t value = 0;
      const char* begin = text_.data() + at_;
      const auto [end, error] = std::from_chars(begin, text_.data() + text_.size(), value);
      if (error == std::errc::result_out_of_range) Fail("has a dimension that is too large");
      if (error != std::errc()) Fail("has a 'shape' that is not a tuple of whole numbers");
      at_ += static_cast<size_t>(end - begin);
      if (at_ < text_.size() && text_[at_] == 'L') ++at_;  // Python 2 wrote 3L.
      values.push_back(value);
      if (!Accept(',')) {
        Expect(')');
        break;
      }
    }
    return values;
  }

  void ParseDescr(NpyHeader& header) {
    SkipSpace();
    if (at_ < text_.size() && text_[at_] == '[') {
      throw BadInput(
          fmt::format("{}: structured elements are not supported, expected {}", where_, kSampleDTypes));
    }
    const std::string_view descr = QuotedString();
    std::string_view code = descr;
    if (!code.empty() && std::string_view("<>=|").find(code[0]) != std::string_view::npos)
      code.remove_prefix(1);
    header.big_endian = descr.starts_with('>');
    if (code == "bfloat16") code = "V2";
    const auto* kind = std::ranges::find(kKinds, code, &Kind::code);
    if (kind == std::end(kKinds)) {
      throw BadInput(fmt::format("{}: elements of type '{}' are not supported, expected {}", where_, descr,
                                 kSampleDTypes));
    }
    header.dtype = kind->dtype;
  }

  std::string_view text_;
  std::string_view where_;
  size_t at_ = 0;
};

void SwapBytes(std::vector<std::byte>& bytes, size_t size) {
  for (size_t i = 0; i + size <= bytes.size(); i += size) {
    std::reverse(bytes.begin() + static_cast<ptrdiff_t>(i), bytes.begin() + static_cast<ptrdiff_t>(i + size));
  }
}

std::vector<std::byte> FortranToC(const std::vector<std::byte>& from, const std::vector<int64_t>& shape,
                                  size_t size) {
  std::vector<size_t> stride(shape.size());
  size_t step = size;
  for (size_t axis = 0; axis < shape.size(); ++axis) {
    stride[axis] = step;
    step *= static_cast<size_t>(shape[axis]);
  }
  std::vector<std::byte> to(from.size());
  std::vector<int64_t> index(shape.size(), 0);
  size_t source = 0;
  for (size_t target = 0; target < to.size(); target += size) {
    std::memcpy(&to[target], &from[source], size);
    // Advance like an odometer, the last axis fastest.
    for (size_t axis = shape.size(); axis-- > 0;) {
      source += stride[axis];
      if (++index[axis] < shape[axis]) break;
      source -= stride[axis] * static_cast<size_t>(shape[axis]);
      index[axis] = 0;
    }
  }
  return to;
}

}  // namespace

bool IsNpy(std::string_view bytes) { return bytes.starts_with(kMagic); }

size_t NpyHeaderSize(std::string_view prefix, std::string_view where) {
  if (!IsNpy(prefix))
    throw BadInput(fmt::format("{}: not a .npy (it does not begin with \\x93NUMPY)", where));
  const auto byte = [&](size_t i) -> size_t {
    if (i >= prefix.size()) throw BadInput(fmt::format("{}: the .npy ends within its header", where));
    return static_cast<unsigned char>(prefix[i]);
  };
  const size_t major = byte(6), minor = byte(7);
  if (major < 1 || major > 3 || minor != 0) {
    throw BadInput(fmt::format("{}: .npy format {}.{}, expected 1.0, 2.0 or 3.0", where, major, minor));
  }
  const size_t start = major == 1 ? 10 : 12;
  size_t length = byte(8) | byte(9) << 8;
  if (major > 1) length |= byte(10) << 16 | byte(11) << 24;
  if (length > kMaxHeader)
    throw BadInput(fmt::format("{}: a .npy header of {} bytes makes no sense", where, length));
  return start + length;
}

NpyHeader ParseNpyHeader(std::string_view header, std::string_view where) {
  const size_t size = NpyHeaderSize(header, where);
  if (header.size() < size) throw BadInput(fmt::format("{}: the .npy ends within its header", where));
  const size_t start = header[6] == 1 ? 10 : 12;
  NpyHeader result = HeaderParser(header.substr(start, size - start), where).Parse();
  result.header_size = size;
  result.payload_size = ArrayBytes(result.dtype, result.shape, where);
  return result;
}

Array DecodeNpyPayload(const NpyHeader& header, std::vector<std::byte> payload) {
  const size_t size = DTypeSize(header.dtype);
  if (header.big_endian && size > 1) SwapBytes(payload, size);
  if (header.fortran_order && header.shape.size() > 1 && !payload.empty()) {
    payload = FortranToC(payload, header.shape, size);
  }
  return {header.dtype, header.shape, std::move(payload)};
}

Array ParseNpy(std::span<const std::byte> bytes, std::string_view where) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  const NpyHeader header = ParseNpyHeader(text, where);
  const size_t present = bytes.size() - header.header_size;
  if (present < header.payload_size) {
    throw BadInput(fmt::format("{}: {} of shape {} needs {} bytes, found {}", where, DTypeName(header.dtype),
                               ShapeText(header.shape), header.payload_size, present));
  }
  const auto payload = bytes.subspan(header.header_size, header.payload_size);
  return DecodeNpyPayload(header, {payload.begin(), payload.end()});
}

std::string NpyHeaderBytes(const Array& array) {
  const auto* kind = std::ranges::find(kKinds, array.dtype, &Kind::dtype);
  if (kind == std::end(kKinds)) {
    throw BadInput(fmt::format("an array of {} cannot be written as .npy", DTypeName(array.dtype)));
  }
  const bool has_order = DTypeSize(array.dtype) > 1;
  std::string shape;
  for (const int64_t dimension : array.shape) shape += fmt::format("{}, ", dimension);
  // As Python prints tuples: (), (3,), (3, 4).
  if (array.shape.size() == 1) shape.resize(shape.size() - 1);
  if (array.shape.size() > 1) shape.resize(shape.size() - 2);
  std::string text = fmt::format("{{'descr': '{}{}', 'fortran_order': False, 'shape': ({}), }}",
                                 has_order ? '<' : '|', kind->code, shape);
  constexpr size_t kStart = 10;
  text.append((kAlignment - (kStart + text.size() + 1) % kAlignment) % kAlignment, ' ');
  text += '\n';
  std::string bytes(kMagic);
  bytes += '\1';
  bytes += '\0';
  bytes += static_cast<char>(text.size() & 0xff);
  bytes += static_cast<char>(text.size() >> 8);
  return bytes + text;
}

std::string NpyBytes(const Array& array) {
  std::string bytes = NpyHeaderBytes(array);
  bytes.reserve(bytes.size() + array.bytes.size());
  bytes.append(reinterpret_cast<const char*>(array.bytes.data()), array.bytes.size());
  return bytes;
}

}  // namespace halfsafe
