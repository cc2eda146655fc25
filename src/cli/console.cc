#include "cli/console.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>

#include "base/display.h"
#include "halfsafe/error.h"

namespace halfsafe {

namespace {

std::string_view Environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

/// What COLUMNS says; 0 where it is no number of columns.
int ColumnsAskedFor() {
  const std::string_view text = Environment("COLUMNS");
  int columns = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), columns);
  return error == std::errc() && end == text.data() + text.size() ? std::max(columns, 0) : 0;
}

int WidthOf(FILE* stream) {
  if (const int columns = ColumnsAskedFor(); columns > 0) return columns;
  winsize size{};
  constexpr int kNoTerminal = 100;
  return ioctl(fileno(stream), TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : kNoTerminal;
}

void Put(FILE* stream, std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), stream) != text.size() || std::fflush(stream) != 0) {
    if (errno == EPIPE) throw Error(ExitCode::kClosedPipe, "nobody reads standard output any more");
    throw BadInput(fmt::format("can't write to standard {}: {}", stream == stderr ? "error" : "output",
                               std::strerror(errno)));
  }
}

}  // namespace

bool IsTerminal(FILE* stream) {
  const std::string_view terminal = Environment("TERM");
  return isatty(fileno(stream)) == 1 && !terminal.empty() && terminal != "dumb";
}

Screen ScreenOf(FILE* stream) {
  return {stream, WidthOf(stream), IsTerminal(stream) && Environment("NO_COLOR").empty()};
}

void OpenStandardStreams() {
  for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    // Opened the wrong way round, so that reading and writing fail as they would have.
    if (fcntl(stream, F_GETFD) == -1 && open("/dev/null", stream == STDIN_FILENO ? O_WRONLY : O_RDONLY) < 0)
      std::_Exit(static_cast<int>(ExitCode::kUnavailable));
  }
}

void Print(FILE* stream, std::string_view text) { Put(stream, Printable(text)); }

void Write(FILE* stream, std::string_view text) {
  if (isatty(fileno(stream)) == 1) {
    Print(stream, text);
  } else {
    Put(stream, text);
  }
}

void Tell(std::string_view text) { std::fwrite(text.data(), 1, text.size(), stderr); }

void PrintNote(std::string_view kind, std::string_view message) {
  const bool color = ScreenOf(stderr).color;
  Tell(fmt::format("halfsafe: {}{}{}: {}\n", color ? "\x1b[33m" : "", kind, color ? "\x1b[0m" : "",
                   Printable(message)));
}

ConsoleProgress::ConsoleProgress(bool quiet) : quiet_(quiet), terminal_(IsTerminal(stderr)) {}

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
  // A line that is wrapped can't be rewritten.
  if (terminal_) line = FitMiddle(line, static_cast<size_t>(std::max(9, WidthOf(stderr) - 1)));
  Tell(fmt::format("{}{}{}", terminal_ ? "\r\x1b[K" : "", line, terminal_ && !last ? "" : "\n"));
}

void ConsoleProgress::Warn(std::string_view message) {
  if (!quiet_) PrintNote("warning", message);
}

}  // namespace halfsafe
