#pragma once

#include "halfsafe/ranges.h"
#include "model/graph_index.h"

namespace halfsafe {

/// Fills `sum_bound` of every result of a sum. With a = inputs, w = weights:
///   sums of elements:  |partial sum| <= min(sum |a|, n * max |a|), n elements to a result
///   sums of squares:   |partial sum| <= max |a| * sum |a|
///   dot products:      |partial sum| <= min(max |a| * max_out sum |w|, sum |a| * max |w|, max |a| * sum |w|)
///   + max |bias|
/// where sum |a| is the largest in one sample. Valid for any order of summation.
void AddSumBounds(const Model& model, const GraphIndex& index, RangeTable* table);

}  // namespace halfsafe
