#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "halfsafe/sample.h"

namespace halfsafe {

/// What the text before the elements of a .npy says.
struct NpyHeader {
  DType dtype = DType::kFloat;
  bool big_endian = false;
  bool fortran_order = false;
  std::vector<int64_t> shape;
  size_t header_size = 0;   ///< Bytes before the first element.
  size_t payload_size = 0;  ///< Bytes of all elements.
};

/// Enough bytes of any .npy to call NpyHeaderSize with.
inline constexpr size_t kNpyPrefix = 12;

/// Whether `bytes` begin like a .npy.
bool IsNpy(std::string_view bytes);

/// Bytes before the first element, told from the first kNpyPrefix bytes (or all, when there are fewer).
/// Throws BadInput that begins with `where`.
size_t NpyHeaderSize(std::string_view prefix, std::string_view where);

/// Reads the first NpyHeaderSize bytes of a .npy. Throws BadInput that begins with `where` when they make no
/// sense or promise elements that samples can't have.
NpyHeader ParseNpyHeader(std::string_view header, std::string_view where);

/// Turns the elements as stored, exactly header.payload_size bytes, into an array in C order, little endian.
Array DecodeNpyPayload(const NpyHeader& header, std::vector<std::byte> payload);

/// Reads a whole .npy, format 1.0 to 3.0. Bytes after the last element are ignored, as numpy does.
Array ParseNpy(std::span<const std::byte> bytes, std::string_view where);

/// The bytes that come before `array.bytes` in a .npy, format 1.0. BF16 is stored as two opaque bytes, like
/// ml_dtypes does.
std::string NpyHeaderBytes(const Array& array);

/// The whole .npy.
std::string NpyBytes(const Array& array);

}  // namespace halfsafe
