#pragma once

#include <memory>
#include <string>

#include "runtime/session.h"

namespace halfsafe {

/// The session that runs samples of one model. ONNX Runtime plans memory, and lets every tap work in place,
/// only where it knows the shapes. So the session is made for those of the first sample, and replaced by one
/// for any shape when others come: a session has its own copy of the weights, which several at a time would
/// multiply.
class SessionCache {
 public:
  /// `model` and what `options` refers to must outlive the cache. `fixed_first` makes a session for the first
  /// sample's shapes at once: right where all samples have the same.
  SessionCache(const SessionModel& model, SessionOptions options, bool fixed_first);

  /// The session to run `sample` with, until the next call.
  Session& For(const Sample& sample);

 private:
  /// Leaves no session where ONNX Runtime refuses these shapes.
  void MakeFor(const Sample& sample);

  const SessionModel& model_;
  SessionOptions options_;
  bool fixed_;          ///< Whether the session is for one combination of shapes.
  std::string shapes_;  ///< That combination.
  std::unique_ptr<Session> session_;
};

/// Whether the first samples of `source` have the same shapes, as far as two can tell.
bool SameShapes(const SampleSource& source);

}  // namespace halfsafe
