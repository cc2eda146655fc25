#include "cli/describe.h"

#include <fmt/format.h>

#include <algorithm>

namespace halfsafe {
namespace {

OptionText DescribeOption(const CLI::Option& option) {
  OptionText text;
  if (option.get_positional()) {
    text.names = {option.get_name(true)};
  } else {
    for (const std::string& name : option.get_snames()) text.names.push_back("-" + name);
    for (const std::string& name : option.get_lnames()) text.names.push_back("--" + name);
  }
  // CLI11 appends its checks, which the descriptions say in words.
  if (option.get_items_expected_max() > 0)
    text.value = option.get_type_name().substr(0, option.get_type_name().find(':'));
  text.description = option.get_description();
  text.required = option.get_required();
  text.repeated = option.get_items_expected_max() > 1;
  return text;
}

CommandText DescribeCommand(const CLI::App& app) {
  CommandText text;
  text.name = app.get_parent() == nullptr ? "" : app.get_name();
  text.summary = app.get_description();
  for (const CLI::Option* option : app.get_options())
    (option->get_positional() ? text.arguments : text.options).push_back(DescribeOption(*option));
  return text;
}

}  // namespace

ValueKind OptionText::Kind() const {
  using Of = ValueKind::Of;
  // Words to choose from are in lower case; what a user puts something else in place of is in capitals.
  const bool words = !value.empty() && value.front() >= 'a' && value.front() <= 'z';
  if (words) return {Of::kWords, CLI::detail::split(value, '|'), ""};
  if (value == "FOLDER") return {Of::kFolder, {}, ""};
  if (value == "PATH" || value == "ENGINE") return {Of::kPath, {}, ""};
  const size_t dot = value.find('.');
  if (dot != std::string::npos) return {Of::kSuffix, {}, value.substr(dot)};
  return {};
}

std::string OptionText::Synopsis() const {
  const std::string dots = repeated ? "..." : "";
  if (names.front().front() != '-') return names.front() + dots;
  const std::string joined = fmt::format("{}", fmt::join(names, ", "));
  return value.empty() ? joined : fmt::format("{} {}{}", joined, value, dots);
}

std::string OptionText::Brief() const {
  constexpr size_t kTooLittle = 12;  // "fp32: ..." says nothing before the colon.
  size_t end = description.size();
  for (const char* stop : {": ", "; ", " ("})
    if (const size_t at = description.find(stop); at >= kTooLittle) end = std::min(end, at);
  return description.substr(0, end);
}

std::string CommandText::Usage() const {
  if (name.empty()) return "halfsafe COMMAND [OPTIONS]";
  std::string usage = "halfsafe " + name;
  for (const OptionText& argument : arguments)
    usage += argument.required ? " " + argument.Synopsis() : fmt::format(" [{}]", argument.Synopsis());
  for (const OptionText& option : options) {
    if (option.required) usage += fmt::format(" {} {}", option.names.front(), option.value);
  }
  return usage + " [OPTIONS]";
}

ValueKind CommandText::ArgumentKind() const {
  if (arguments.empty()) return {};
  const ValueKind first = arguments.front().Kind();
  const bool alike = std::all_of(arguments.begin(), arguments.end(), [&](const OptionText& argument) {
    return argument.Kind().of == first.of && argument.Kind().suffix == first.suffix;
  });
  return alike ? first : ValueKind{ValueKind::Of::kPath, {}, ""};
}

ProgramText Describe(const CLI::App& program) {
  ProgramText text;
  text.main = DescribeCommand(program);
  const std::vector<CommandEntry> entries = Commands();
  for (const CLI::App* command : program.get_subcommands([](const CLI::App*) { return true; })) {
    text.commands.push_back(DescribeCommand(*command));
    const auto entry = std::find_if(entries.begin(), entries.end(),
                                    [&](const CommandEntry& e) { return e.name == command->get_name(); });
    if (entry != entries.end()) text.commands.back().examples = entry->examples;
  }
  return text;
}

std::vector<ExitText> ExitTexts() {
  return {{ExitCode::kOk, "Done and right; also when scan, plan, diff or inspect find overflow."},
          {ExitCode::kNotRight,
           "Done but not right (model and result are still written), an engine that is not as planned, or "
           "what --fail-on names."},
          {ExitCode::kUsage, "The command line is wrong."},
          {ExitCode::kBadInput, "Bad model, bad data, no space, no permission."},
          {ExitCode::kInternal, "Internal error, or out of memory."},
          {ExitCode::kUnavailable, "This build or machine lacks what was asked for."},
          {ExitCode::kInterrupted, "Interrupted."}};
}

}  // namespace halfsafe
