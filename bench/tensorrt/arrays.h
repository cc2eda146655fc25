#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace halfsafe::bench {

/// An array as `prepare.py` wrote it. Doubles hold every type that occurs exactly, but for INT64 past 2^53,
/// which TensorRT cannot take either.
struct Array {
  std::string name;
  std::string dtype;  ///< numpy's name: float32, int64, ...
  std::vector<int64_t> shape;
  std::vector<double> values;
};

/// Inputs or reference outputs of one sample.
struct ArraySet {
  std::string sample;
  std::vector<Array> arrays;

  const Array* Find(const std::string& name) const;
};

/// Reads FOLDER/manifest.tsv, a line an array: sample, name, dtype, shape as "2,3" (empty for a scalar) and
/// file, with tabs between them, and the files, which hold the elements alone, little endian in C order.
std::vector<ArraySet> LoadArrays(const std::filesystem::path& folder);

/// Elements of a type that engines read and write, named as in numpy, to raw bytes and back. Encode throws
/// where a value does not fit.
std::vector<uint8_t> Encode(const std::vector<double>& values, const std::string& dtype);
std::vector<double> Decode(const std::vector<uint8_t>& bytes, const std::string& dtype);
size_t ElementSize(const std::string& dtype);

/// How far outputs are from the reference; sums up over outputs and samples.
struct Difference {
  int64_t outputs = 0;       ///< floating-point elements compared
  int64_t nonfinite = 0;     ///< those that are not finite where the reference is
  double max_abs = 0;        ///< largest error among finite elements
  double max_reference = 0;  ///< largest magnitude in the reference
  double rel_l2 = 0;         ///< worst of an output on a sample; infinite when any element is not finite
  int64_t integers = 0;      ///< integer and bool elements compared
  int64_t flips = 0;         ///< those that differ

  /// `values` may hold the reference several times over, one for each element of a batch.
  void Add(const Array& reference, const std::vector<double>& values);
};

}  // namespace halfsafe::bench
