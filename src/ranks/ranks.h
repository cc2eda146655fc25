#pragma once

#include <memory>
#include <optional>

#include "halfsafe/ranges.h"

namespace halfsafe {

/// The processes of one job that share the samples of a scan, started by an MPI launcher.
class Ranks {
 public:
  virtual ~Ranks() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  /// How many of them run on this machine.
  virtual int here() const = 0;
  /// Joins the tables of all ranks, on rank 0; nothing on the others. Every rank has to call it.
  virtual std::optional<RangeTable> Join(const RangeTable& table) = 0;
  /// Says that this rank has done its part. One that ends without ends the job for all.
  virtual void Finish() = 0;
};

/// The ranks that this process belongs to; null where no launcher started it, or started it alone. Throws
/// Error(kUnavailable) when this build can't talk to the others: they would all do the same work.
std::unique_ptr<Ranks> ConnectRanks();

}  // namespace halfsafe
