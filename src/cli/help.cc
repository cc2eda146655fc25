#include <fmt/format.h>

#include <algorithm>

#include "base/display.h"
#include "cli/describe.h"

namespace halfsafe {
namespace {

/// Lines of --help, none wider than the terminal.
class HelpWriter {
 public:
  explicit HelpWriter(int width) : width_(static_cast<size_t>(std::max(width, 40))) {}

  void Paragraph(const std::string& text) { Lines(text, 0); }
  void Heading(const std::string& text) { text_ += fmt::format("\n{}:\n", text); }

  /// A term, and what it means beside it, or below where there is no room beside.
  void Entry(const std::string& term, const std::string& meaning) {
    const size_t column = width_ >= 72 ? 30 : 6;
    const bool beside = DisplayWidth(term) + 4 <= column;
    const std::vector<std::string> lines = WrapText(meaning, width_ - column);
    text_ += beside ? "  " + PadTo(term, column - 2) + lines.front() + "\n" : "";
    if (!beside) Lines(term, 2);
    for (size_t i = beside ? 1 : 0; i < lines.size(); ++i)
      text_ += std::string(column, ' ') + lines[i] + "\n";
  }

  /// A command line that can be copied as it stands, and what it does.
  void Command(const Example& example) {
    const std::vector<std::string> lines = WrapText(example.line, width_ - 6);
    text_ += fmt::format("  {}\n", fmt::join(lines, " \\\n    "));
    Lines(example.what, 6);
  }

  std::string text() const { return text_; }

 private:
  void Lines(const std::string& text, size_t indent) {
    for (const std::string& line : WrapText(text, width_ - indent))
      text_ += std::string(indent, ' ') + line + "\n";
  }

  size_t width_;
  std::string text_;
};

}  // namespace

std::string HelpText(const ProgramText& program, const std::string& name, int width) {
  const auto found = std::find_if(program.commands.begin(), program.commands.end(),
                                  [&](const CommandText& command) { return command.name == name; });
  const CommandText& command = found == program.commands.end() ? program.main : *found;
  HelpWriter writer(width);
  writer.Paragraph(command.summary);
  writer.Paragraph("Usage: " + command.Usage());
  const auto list = [&](const char* heading, const std::vector<OptionText>& options) {
    if (!options.empty()) writer.Heading(heading);
    for (const OptionText& option : options) writer.Entry(option.Synopsis(), option.description);
  };
  list("Positionals", command.arguments);
  list("Options", command.options);
  if (command.name.empty()) {
    writer.Heading("Subcommands");
    for (const CommandText& sub : program.commands) writer.Entry(sub.name, sub.summary);
    writer.Heading("Exit codes");
    for (const ExitText& exit : ExitTexts())
      writer.Entry(std::to_string(static_cast<int>(exit.code)), exit.meaning);
  }
  if (!command.examples.empty()) writer.Heading("Examples");
  for (const Example& example : command.examples) writer.Command(example);
  return writer.text();
}

}  // namespace halfsafe
