#include "arrays.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>
#include <limits>
#include <sstream>
#include <stdexcept>
#include <type_traits>

#include "halfsafe/half.h"

namespace halfsafe::bench {
namespace {

/// FP16 elements travel as their bits.
struct Half {
  uint16_t bits;
};

/// Calls `function` with a value of the C++ type that stores `dtype`.
template <typename Function>
auto Dispatch(const std::string& dtype, Function function) {
  if (dtype == "float32") return function(float{});
  if (dtype == "float16") return function(Half{});
  if (dtype == "float64") return function(double{});
  if (dtype == "int64") return function(int64_t{});
  if (dtype == "int32") return function(int32_t{});
  if (dtype == "int8") return function(int8_t{});
  if (dtype == "uint8" || dtype == "bool") return function(uint8_t{});
  throw std::runtime_error("arrays of type " + dtype + " are not supported");
}

template <typename T>
T FromDouble(double value) {
  if constexpr (std::is_same_v<T, Half>) {
    return Half{HalfBits(RoundToHalf(static_cast<float>(value)))};
  } else {
    if constexpr (std::is_integral_v<T>) {
      // INT64 becomes INT32 here: TensorRT 8 has no INT64.
      if (!(value >= static_cast<double>(std::numeric_limits<T>::min()) &&
            value <= static_cast<double>(std::numeric_limits<T>::max())))
        throw std::runtime_error("value " + std::to_string(value) + " does not fit the engine's input type");
    }
    return static_cast<T>(value);
  }
}

template <typename T>
double ToDouble(T value) {
  if constexpr (std::is_same_v<T, Half>) {
    return static_cast<double>(HalfValue(value.bits));
  } else {
    return static_cast<double>(value);
  }
}

std::vector<std::string> Split(const std::string& line, char separator) {
  std::vector<std::string> fields;
  std::istringstream stream(line);
  for (std::string field; std::getline(stream, field, separator);) fields.push_back(field);
  return fields;
}

std::vector<uint8_t> ReadFile(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot read " + path.string());
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

}  // namespace

const Array* ArraySet::Find(const std::string& name) const {
  const auto found =
      std::find_if(arrays.begin(), arrays.end(), [&](const Array& array) { return array.name == name; });
  return found == arrays.end() ? nullptr : &*found;
}

std::vector<ArraySet> LoadArrays(const std::filesystem::path& folder) {
  const std::filesystem::path manifest = folder / "manifest.tsv";
  std::ifstream file(manifest);
  if (!file) throw std::runtime_error("cannot read " + manifest.string());
  std::vector<ArraySet> sets;
  for (std::string line; std::getline(file, line);) {
    const std::vector<std::string> fields = Split(line, '\t');
    if (fields.size() != 5)
      throw std::runtime_error(manifest.string() + ": expected 5 fields, found '" + line + "'");
    if (sets.empty() || sets.back().sample != fields[0]) sets.push_back({fields[0], {}});
    Array array{fields[1], fields[2], {}, {}};
    size_t count = 1;
    for (const std::string& size : Split(fields[3], ',')) {
      array.shape.push_back(std::stoll(size));
      count *= static_cast<size_t>(array.shape.back());
    }
    array.values = Decode(ReadFile(folder / fields[4]), array.dtype);
    if (array.values.size() != count)
      throw std::runtime_error(fields[4] + ": expected " + std::to_string(count) + " elements, found " +
                               std::to_string(array.values.size()));
    sets.back().arrays.push_back(std::move(array));
  }
  if (sets.empty()) throw std::runtime_error(manifest.string() + " names no arrays");
  return sets;
}

std::vector<uint8_t> Encode(const std::vector<double>& values, const std::string& dtype) {
  return Dispatch(dtype, [&](auto type) {
    using T = decltype(type);
    std::vector<uint8_t> bytes(values.size() * sizeof(T));
    for (size_t i = 0; i < values.size(); ++i) {
      const T value = FromDouble<T>(values[i]);
      std::memcpy(bytes.data() + i * sizeof(T), &value, sizeof(T));
    }
    return bytes;
  });
}

std::vector<double> Decode(const std::vector<uint8_t>& bytes, const std::string& dtype) {
  return Dispatch(dtype, [&](auto type) {
    using T = decltype(type);
    std::vector<double> values(bytes.size() / sizeof(T));
    for (size_t i = 0; i < values.size(); ++i) {
      T value;
      std::memcpy(&value, bytes.data() + i * sizeof(T), sizeof(T));
      values[i] = ToDouble(value);
    }
    return values;
  });
}

size_t ElementSize(const std::string& dtype) {
  return Dispatch(dtype, [](auto type) { return sizeof(type); });
}

void Difference::Add(const Array& reference, const std::vector<double>& values) {
  const size_t count = reference.values.size();
  if (count == 0 ? !values.empty() : values.size() % count != 0 || values.empty())
    throw std::runtime_error("output " + reference.name + " has " + std::to_string(values.size()) +
                             " elements, the reference " + std::to_string(count));
  if (count == 0) return;
  const bool floating = reference.dtype.starts_with("float");
  double error_squares = 0;
  double reference_squares = 0;
  int64_t bad = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    const double expected = reference.values[i % count];
    if (!floating) {
      flips += values[i] != expected;
      continue;
    }
    if (!std::isfinite(expected)) continue;
    max_reference = std::max(max_reference, std::fabs(expected));
    if (!std::isfinite(values[i])) {
      ++bad;
      continue;
    }
    const double error = std::fabs(values[i] - expected);
    max_abs = std::max(max_abs, error);
    error_squares += error * error;
    reference_squares += expected * expected;
  }
  if (!floating) {
    integers += static_cast<int64_t>(values.size());
    return;
  }
  outputs += static_cast<int64_t>(values.size());
  nonfinite += bad;
  if (bad > 0 || (reference_squares == 0 && error_squares > 0)) {
    rel_l2 = std::numeric_limits<double>::infinity();
  } else if (reference_squares > 0) {
    rel_l2 = std::max(rel_l2, std::sqrt(error_squares / reference_squares));
  }
}

}  // namespace halfsafe::bench
