#pragma once

#include <chrono>
#include <string>

#include "halfsafe/progress.h"

namespace halfsafe {

/// Columns of the terminal behind standard output; 100 when there is none.
int TerminalWidth();
/// Whether standard output takes colours: a terminal, and NO_COLOR is not set.
bool UseColor();

/// Progress on standard error: one line that rewrites itself on a terminal, plain lines in a pipe, nothing
/// when quiet.
class ConsoleProgress : public Progress {
 public:
  explicit ConsoleProgress(bool quiet);
  void Begin(std::string_view stage, uint64_t total) override;
  void Step() override;
  void End() override;
  void Warn(std::string_view message) override;

 private:
  void Show(bool last);

  bool quiet_;
  bool terminal_;
  std::string stage_;
  uint64_t total_ = 0;
  uint64_t done_ = 0;
  std::chrono::steady_clock::time_point start_;
  std::chrono::steady_clock::time_point shown_;
};

}  // namespace halfsafe
