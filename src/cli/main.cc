#include <fmt/format.h>
#include <malloc.h>

#include <cstdio>
#include <new>
#include <system_error>

#include "base/display.h"
#include "base/text.h"
#include "cli/console.h"
#include "cli/describe.h"
#include "cli/signals.h"
#include "halfsafe/halfsafe.h"

namespace halfsafe {
namespace {

ExitCode Fail(ExitCode code, std::string_view message) {
  Tell(fmt::format("halfsafe: {}\n", Printable(message)));
  return code;
}

/// Every name by which the command's options go.
std::vector<std::string> OptionNames(const CLI::App& command) {
  std::vector<std::string> names;
  for (const CLI::Option* option : command.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  return names;
}

/// What is wrong with the command line, in words of this program where it has better ones.
std::string WhatIsWrong(const CLI::App& app, const CLI::ParseError& error) {
  const std::vector<CLI::App*> parsed = app.get_subcommands();
  const CLI::App& at = parsed.empty() ? app : *parsed.front();
  // Without a command, that it lacks one is found first.
  const bool extras = error.get_exit_code() == static_cast<int>(CLI::ExitCodes::ExtrasError);
  if (!extras && !parsed.empty()) return error.what();
  for (const std::string& extra : at.remaining()) {
    const std::string name = extra.substr(0, extra.find('='));
    if (name.size() < 2 || name[0] != '-') continue;
    const std::string where = parsed.empty() ? "" : at.get_name() + " has ";
    return fmt::format("{}no option {}{}", where, name, DidYouMean(name, OptionNames(at)));
  }
  return error.what();
}

ExitCode UsageError(const CLI::App& app, const CLI::ParseError& error, int argc, char** argv) {
  if (error.get_exit_code() == static_cast<int>(CLI::ExitCodes::Success)) {
    if (error.get_name() == "CallForVersion") {
      Write(stdout, "halfsafe " HALFSAFE_VERSION "\n");
    } else {
      const std::vector<CLI::App*> parsed = app.get_subcommands();
      Write(stdout, HelpText(Describe(app), parsed.empty() ? "" : parsed.front()->get_name(),
                             ScreenOf(stdout).width));
    }
    return ExitCode::kOk;
  }
  std::vector<std::string> names;
  for (const CommandEntry& command : Commands()) names.emplace_back(command.name);
  const std::string first = argc > 1 ? argv[1] : "";
  const bool known = std::find(names.begin(), names.end(), first) != names.end();
  if (!first.empty() && first[0] != '-' && !known) {
    return Fail(ExitCode::kUsage, fmt::format("there is no command {}{}", first, DidYouMean(first, names)));
  }
  return Fail(ExitCode::kUsage, fmt::format("{} (halfsafe {}--help shows the options)",
                                            WhatIsWrong(app, error), known ? first + " " : ""));
}

/// Sessions and samples come and go with blocks of the same sizes. Given back to the system and fetched
/// again, each of their pages would cost a fault.
void KeepFreedMemory() {
#ifdef __GLIBC__
  mallopt(M_TRIM_THRESHOLD, 1 << 30);
  mallopt(M_MMAP_THRESHOLD, 32 << 20);  // The most that glibc takes.
#endif
}

ExitCode Run(int argc, char** argv) {
  KeepFreedMemory();
  CLI::App app("halfsafe makes an ONNX model safe to run in half precision");
  app.set_version_flag("--version", "halfsafe " HALFSAFE_VERSION);
  app.require_subcommand(1);
  Command chosen;
  for (const CommandEntry& entry : Commands()) {
    CLI::App* command = app.add_subcommand(entry.name, entry.summary);
    command->final_callback([&chosen, run = entry.setup(command)] { chosen = run; });
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return UsageError(app, error, argc, argv);
  }
  return chosen();
}

/// Runs the command and says what went wrong.
int RunAndReport(int argc, char** argv) {
  try {
    WatchSignals();
    return static_cast<int>(Run(argc, argv));
  } catch (const Error& error) {
    if (error.code() == ExitCode::kClosedPipe) return static_cast<int>(error.code());  // Nobody listens.
    Fail(error.code(), error.what());
    return error.code() == ExitCode::kInterrupted ? InterruptedCode() : static_cast<int>(error.code());
  } catch (const std::bad_alloc&) {
    Tell(kOutOfMemory);
    return static_cast<int>(ExitCode::kInternal);
  } catch (const std::system_error& error) {
    // Threads that can't be started, for the most part.
    const bool scarce = error.code() == std::errc::resource_unavailable_try_again ||
                        error.code() == std::errc::not_enough_memory;
    return static_cast<int>(
        Fail(ExitCode::kInternal,
             fmt::format("{}: {}", scarce ? "out of memory or threads" : "internal error", error.what())));
  } catch (const std::exception& error) {
    return static_cast<int>(Fail(ExitCode::kInternal, fmt::format("internal error: {}", error.what())));
  }
}

}  // namespace
}  // namespace halfsafe

int main(int argc, char** argv) {
  using halfsafe::ExitCode;
  halfsafe::OpenStandardStreams();
  const int code = halfsafe::RunAndReport(argc, argv);
  std::fflush(nullptr);
// Leaks and races are reported at exit, and the lines that ran are counted there.
#if !defined(HALFSAFE_SANITIZE_address) && !defined(HALFSAFE_SANITIZE_thread) && !defined(HALFSAFE_COVERAGE)
  // All that is left is to free what the libraries hold, which the system does faster.
  std::_Exit(code);
#endif
  return code;
}
