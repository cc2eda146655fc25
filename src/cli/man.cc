#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <ctime>
#include <memory>

#include "base/display.h"
#include "base/text.h"
#include "cli/console.h"
#include "cli/describe.h"
#include "halfsafe/version.h"

namespace halfsafe {
namespace {

/// Text that roff shows as it is.
std::string Escaped(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    if (c == '\\') {
      escaped += "\\e";
    } else if (c == '-') {
      escaped += "\\-";
    } else {
      escaped += c;
    }
  }
  const bool is_request = !escaped.empty() && (escaped.front() == '.' || escaped.front() == '\'');
  return is_request ? "\\&" + escaped : escaped;
}

/// Escaped text in source lines of a moderate length, as roff's style asks for; none begins like a request.
std::string Prose(std::string_view text) {
  std::string lines;
  for (const std::string& line : WrapText(text, 72)) lines += Escaped(line) + "\n";
  return lines;
}

std::string Bold(std::string_view text) { return fmt::format("\\fB{}\\fR", Escaped(text)); }
std::string Italic(std::string_view text) { return fmt::format("\\fI{}\\fR", Escaped(text)); }

std::string PageName(const std::string& command) {
  return command.empty() ? "halfsafe" : "halfsafe-" + command;
}

std::string Upper(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c; });
  return text;
}

std::string Entry(const std::string& term, std::string_view meaning) {
  return ".TP\n" + term + "\n" + Prose(meaning);
}

std::string OptionEntry(const OptionText& option) {
  const bool argument = option.names.front().front() != '-';
  std::vector<std::string> names;
  for (const std::string& name : option.names) names.push_back(argument ? Italic(name) : Bold(name));
  std::string term = fmt::format("{}", fmt::join(names, ", "));
  if (!argument && !option.value.empty()) term += " " + Italic(option.value);
  if (option.repeated) term += " ...";
  return Entry(term, option.description + (option.required && !argument ? " (required)" : ""));
}

std::string OptionSection(const char* heading, const std::vector<OptionText>& options) {
  if (options.empty()) return "";
  std::string text = fmt::format(".SH {}\n", heading);
  for (const OptionText& option : options) text += OptionEntry(option);
  return text;
}

std::string ExampleSection(const std::vector<Example>& examples) {
  if (examples.empty()) return "";
  std::string text = ".SH EXAMPLES\n";
  for (const Example& example : examples) {
    text += (&example == &examples.front() ? "" : ".PP\n") + Prose(example.what);
    text += ".PP\n.RS 4\n.nf\n";
    const std::vector<std::string> lines = WrapText(example.line, 64);
    for (size_t i = 0; i < lines.size(); ++i)
      text +=
          fmt::format("{}{}{}\n", i > 0 ? "    " : "", Escaped(lines[i]), i + 1 < lines.size() ? " \\e" : "");
    text += ".fi\n.RE\n";
  }
  return text;
}

std::string EnvironmentSection() {
  return ".SH ENVIRONMENT\n" +
         Entry(Bold("NO_COLOR"),
               "Set to anything but nothing: no colours. They only ever stress what words say.") +
         Entry(Bold("TERM"), "Where it is dumb, or not set: no colours, and progress in lines of its own.") +
         Entry(Bold("COLUMNS"), "The width of tables and help, in place of the terminal's.") +
         Entry(Bold("TMPDIR"), "Where a check puts outputs aside that memory can't hold.");
}

/// Where the page is read next.
std::string SeeAlso(const ProgramText& program, const std::string& command) {
  std::vector<std::string> pages;
  if (!command.empty()) pages.push_back(PageName(""));
  for (const CommandText& other : program.commands)
    if (other.name != command) pages.push_back(PageName(other.name));
  std::string text = ".SH SEE ALSO\n";
  for (size_t i = 0; i < pages.size(); ++i)
    text += fmt::format(".BR {} (1){}\n", Escaped(pages[i]), i + 1 < pages.size() ? "," : "");
  return text;
}

struct ManCommand {
  CLI::App* program = nullptr;
  std::string command;

  ExitCode Run() const {
    const ProgramText text = Describe(*program);
    std::vector<std::string> names;
    for (const CommandText& known : text.commands) names.push_back(known.name);
    if (!command.empty() && std::find(names.begin(), names.end(), command) == names.end())
      throw BadUsage(fmt::format("there is no command {}{}", command, DidYouMean(command, names)));
    Write(stdout, ManPage(text, command, Date()));
    return ExitCode::kOk;
  }

  /// Today, or what builds that are to be repeated ask for.
  static std::string Date() {
    const char* epoch = std::getenv("SOURCE_DATE_EPOCH");
    const auto seconds =
        epoch == nullptr ? std::time(nullptr) : static_cast<time_t>(std::strtoll(epoch, nullptr, 10));
    return fmt::format("{:%Y-%m-%d}", fmt::gmtime(seconds));
  }
};

}  // namespace

std::string ManPage(const ProgramText& program, const std::string& name, const std::string& date) {
  const auto found = std::find_if(program.commands.begin(), program.commands.end(),
                                  [&](const CommandText& command) { return command.name == name; });
  const CommandText& command = found == program.commands.end() ? program.main : *found;
  std::string text = fmt::format(".TH {} 1 {} \"halfsafe {}\" \"User Commands\"\n", Upper(PageName(name)),
                                 date, HALFSAFE_VERSION);
  text += fmt::format(".SH NAME\n{} \\-\n{}", Escaped(PageName(name)), Prose(command.summary));
  text += ".SH SYNOPSIS\n" + Prose(command.Usage());
  if (name.empty()) {
    text +=
        ".SH DESCRIPTION\n" +
        Prose(
            "Takes an ONNX model and real input samples, finds what FP16 cannot hold, keeps as little as "
            "possible in FP32, and checks the result by emulating FP16. Each command has a page of its own.");
    text += ".SH COMMANDS\n";
    for (const CommandText& other : program.commands) text += Entry(Bold(other.name), other.summary);
  }
  text += OptionSection("ARGUMENTS", command.arguments) + OptionSection("OPTIONS", command.options);
  text += ExampleSection(command.examples);
  text += ".SH EXIT STATUS\n";
  for (const ExitText& exit : ExitTexts())
    text += Entry(Bold(std::to_string(static_cast<int>(exit.code))), exit.meaning);
  return text + EnvironmentSection() + SeeAlso(program, name);
}

Command SetUpMan(CLI::App* app) {
  auto command = std::make_shared<ManCommand>();
  command->program = app->get_parent();
  std::vector<std::string> names;
  for (const CommandEntry& entry : Commands()) names.emplace_back(entry.name);
  app->add_option("COMMAND", command->command, "The command; without, the page of the program")
      ->type_name(fmt::format("{}", fmt::join(names, "|")));
  return [command] { return command->Run(); };
}

}  // namespace halfsafe
