#include "cli/console.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

namespace halfsafe {

int TerminalWidth() {
  winsize size{};
  return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 100;
}

bool UseColor() { return isatty(STDOUT_FILENO) == 1 && std::getenv("NO_COLOR") == nullptr; }

ConsoleProgress::ConsoleProgress(bool quiet) : quiet_(quiet), terminal_(isatty(STDERR_FILENO) == 1) {}

void ConsoleProgress::Begin(std::string_view stage, uint64_t total) {
  stage_ = stage;
  total_ = total;
  done_ = 0;
  start_ = shown_ = std::chrono::steady_clock::now();
}

void ConsoleProgress::Step() {
  ++done_;
  const auto now = std::chrono::steady_clock::now();
  // A person reads a few updates a second; a log wants one every ten.
  const auto pause = terminal_ ? std::chrono::milliseconds(200) : std::chrono::milliseconds(10000);
  if (now - shown_ < pause) return;
  shown_ = now;
  Show(false);
}

void ConsoleProgress::End() { Show(true); }

void ConsoleProgress::Show(bool last) {
  if (quiet_) return;
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  const double rate = seconds > 0.0 ? static_cast<double>(done_) / seconds : 0.0;
  std::string line = total_ > 0 ? fmt::format("{}: {}/{} samples, {:.1f}/s", stage_, done_, total_, rate)
                                : fmt::format("{}: {} runs, {:.1f}/s", stage_, done_, rate);
  if (last) {
    line += fmt::format(", {:.2f} s", seconds);
  } else if (rate > 0.0 && total_ > done_) {
    line += fmt::format(", {:.0f} s left", static_cast<double>(total_ - done_) / rate);
  }
  fmt::print(stderr, "{}{}{}", terminal_ ? "\r\x1b[K" : "", line, terminal_ && !last ? "" : "\n");
  std::fflush(stderr);
}

void ConsoleProgress::Warn(std::string_view message) {
  if (!quiet_) fmt::print(stderr, "halfsafe: warning: {}\n", message);
}

}  // namespace halfsafe
