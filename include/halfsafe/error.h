#pragma once

#include <stdexcept>
#include <string>

namespace halfsafe {

/// What a process that meets a condition exits with. Scripts rely on these numbers.
enum class ExitCode : int {
  kOk = 0,             ///< Done and right.
  kNotRight = 1,       ///< Done, but the result is not right; model and result are still written.
  kUsage = 2,          ///< The command line is wrong.
  kBadInput = 3,       ///< Bad model, bad data, no space, no permission.
  kInternal = 4,       ///< A bug in halfsafe, or out of memory.
  kUnavailable = 5,    ///< This build or machine lacks what was asked for.
  kInterrupted = 130,  ///< Stopped by SIGINT, as shells report it (128 + 2).
  kClosedPipe = 141,   ///< Nobody reads what is printed any more (128 + SIGPIPE).
};

/// The one exception type of the library. Its message says what, where, expected and got, so that a user can
/// act on it.
class Error : public std::runtime_error {
 public:
  /// An error of a kind, with its message.
  Error(ExitCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  /// What kind it is.
  ExitCode code() const { return code_; }

 private:
  ExitCode code_;
};

/// An Error for bad models, bad data and files that can't be read or written.
inline Error BadInput(const std::string& message) { return Error(ExitCode::kBadInput, message); }

/// An Error for arguments that make no sense, wherever they came from.
inline Error BadUsage(const std::string& message) { return Error(ExitCode::kUsage, message); }

}  // namespace halfsafe
