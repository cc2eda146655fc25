#pragma once

#include <functional>
#include <optional>
#include <unordered_map>
#include <vector>

#include "halfsafe/ranges.h"
#include "model/graph_index.h"

namespace halfsafe {

/// What bounds need to know of a tensor in one sample.
struct SampleSums {
  double abs_max = 0.0;  ///< Largest |x| among finite values.
  double abs_sum = 0.0;  ///< Of |x| over the whole tensor; the largest where a body's node ran several times.
  uint64_t elements = 0;  ///< 0 where runs of a body's node differed.
};

/// Bounds the partial sums of every result of a sum, sample by sample, and keeps the largest: which samples
/// are scanned together cannot matter. With a = inputs, w = weights:
///   sums of elements:  |partial sum| <= min(sum |a|, n * max |a|), n elements to a result
///   sums of squares:   |partial sum| <= max |a| * sum |a|
///   dot products:      |partial sum| <= min(max |a| * max_out sum |w|, sum |a| * max |w|, max |a| * sum |w|)
///   + max |bias|
/// Valid for any order of summation.
class SumBounds {
 public:
  /// What a tensor of the index did in the sample that just ended; nothing where no run wrote it.
  using Lookup = std::function<std::optional<SampleSums>(int tensor)>;

  SumBounds(const Model& model, const GraphIndex& index, const std::vector<TensorStats>& constants);

  void EndSample(const Lookup& activation);
  /// Of what a node writes; nothing for operators without sums, and where no bound is known.
  std::optional<double> Of(int tensor) const;

 private:
  struct Sum {
    int node = -1;
    int output = -1;
    std::optional<double> weights;  ///< Largest sum of |w| that one result takes.
    std::optional<double> bound;
  };

  std::optional<double> Bound(const Sum& sum, const Lookup& lookup) const;
  std::optional<double> Products(const Sum& sum, const SampleSums& input, const Lookup& lookup) const;

  const GraphIndex& index_;
  std::unordered_map<int, SampleSums> constants_;  ///< By tensor.
  std::vector<Sum> sums_;
  std::unordered_map<int, size_t> by_output_;
};

}  // namespace halfsafe
