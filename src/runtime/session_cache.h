#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "runtime/session.h"

namespace halfsafe {

/// Sessions of one model, made for the input shapes that samples come with. ONNX Runtime plans memory, and
/// lets a tap work in place, only where it knows the shapes; a session for any shape copies each tapped
/// tensor. So shapes that keep coming back get a session of their own, at most 8, and the rest share one.
class SessionCache {
 public:
  /// `model` and what `options` refers to must outlive the cache. `fixed_first` makes a session for the first
  /// sample's shapes at once: right where all samples have the same.
  SessionCache(const SessionModel& model, SessionOptions options, bool fixed_first);

  /// The session to run `sample` with.
  Session& For(const Sample& sample);

 private:
  Session& Fixed(const std::string& key, const Sample& sample);

  const SessionModel& model_;
  SessionOptions options_;
  bool fixed_first_;
  std::map<std::string, int> seen_;  ///< How often each combination of shapes came.
  std::map<std::string, std::unique_ptr<Session>> fixed_;
  std::unique_ptr<Session> any_;
};

/// Whether the first samples of `source` have the same shapes, as far as two can tell.
bool SameShapes(const SampleSource& source);

}  // namespace halfsafe
