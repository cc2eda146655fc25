#pragma once

#include <chrono>
#include <cstdio>
#include <string>
#include <string_view>

#include "halfsafe/progress.h"

namespace halfsafe {

/// A stream that people read.
struct Screen {
  FILE* stream = stdout;
  int width = 100;     ///< COLUMNS where it is set, or the terminal's columns; 100 where there is neither.
  bool color = false;  ///< A terminal that takes colours, and NO_COLOR is not set.
};

Screen ScreenOf(FILE* stream);

/// Whether the stream is a terminal that lines can be rewritten on.
bool IsTerminal(FILE* stream);

/// Holds the numbers of standard streams that are closed, which the next files opened would get: messages
/// would then go into these.
void OpenStandardStreams();

/// Writes what people read: without what a terminal would obey. Throws BadInput where it can't be written.
void Print(FILE* stream, std::string_view text);

/// Writes what programs read, as it is; the same as Print where a terminal reads it.
void Write(FILE* stream, std::string_view text);

/// Says something on standard error. Where that can't be written, nobody misses it, and the work goes on.
void Tell(std::string_view text);

/// The message for it, which takes none.
constexpr std::string_view kOutOfMemory = "halfsafe: out of memory\n";

/// "halfsafe: warning: ..." and the like on standard error.
void PrintNote(std::string_view kind, std::string_view message);

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
