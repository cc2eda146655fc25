#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "halfsafe/ranges.h"

namespace halfsafe {

/// What a scan has seen so far, in a file: a scan that ended early goes on from there. The file holds ranges
/// like any other, and which of the samples they come from.
class Checkpoint {
 public:
  using Table = std::function<RangeTable()>;

  /// Reads the file that `options` names, where it exists. Throws Error(kBadInput) when it was made by
  /// another scan: other model, samples or options. Without a name nothing is ever written.
  Checkpoint(const ScanOptions& options, const Model& model, const SampleSource& samples);

  /// How many samples, from the first on, need not be run again.
  uint64_t done() const { return done_; }
  /// `now` with what came before this run.
  RangeTable Join(RangeTable now) const;
  /// Saves from time to time: so seldom that it costs next to nothing.
  void Update(uint64_t done, const Table& table);
  void Save(uint64_t done, const Table& table);

 private:
  void Read(const Model& model, uint64_t samples);

  std::string path_;
  std::string scan_;  ///< Names the samples and options.
  uint64_t done_ = 0;
  std::optional<RangeTable> before_;
  std::chrono::steady_clock::time_point saved_;
  std::chrono::steady_clock::duration cost_{};  ///< Of the last time.
};

}  // namespace halfsafe
