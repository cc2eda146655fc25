#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "cli/commands.h"

namespace halfsafe {

/// What a shell can offer as the value of an option or as an argument. It follows from the name that --help
/// gives the value: "auto|fp32" is one of these words, "PLAN.json" a file with this ending, FOLDER and PATH
/// are what they say, and anything else (N, REGEX) only the user knows.
struct ValueKind {
  enum class Of { kUnknown, kWords, kSuffix, kFolder, kPath } of = Of::kUnknown;
  std::vector<std::string> words;
  std::string suffix;  ///< ".json"
};

/// An option or an argument, in words.
struct OptionText {
  std::vector<std::string> names;  ///< "-o", "--output"; of an argument the one name that it goes by.
  std::string value;               ///< What --help calls the value; empty for flags.
  std::string description;
  bool required = false;
  bool repeated = false;  ///< Takes several values.

  ValueKind Kind() const;
  /// "-o, --output FIXED.onnx"; PATH... where there may be several.
  std::string Synopsis() const;
  /// The description up to its first colon, semicolon or bracket: what fits beside a word in a shell's list.
  std::string Brief() const;
};

/// One command, in words.
struct CommandText {
  std::string name;
  std::string summary;
  std::vector<OptionText> arguments;
  std::vector<OptionText> options;
  std::vector<Example> examples;

  /// "halfsafe fix MODEL -o FIXED.onnx [OPTIONS]"
  std::string Usage() const;
  /// What a shell can offer as an argument; unknown where there are none.
  ValueKind ArgumentKind() const;
};

/// The program, in words: --help, man pages and completions are made from this alone.
struct ProgramText {
  CommandText main;  ///< What stands before the command.
  std::vector<CommandText> commands;
};

ProgramText Describe(const CLI::App& program);

/// An exit code and when it comes.
struct ExitText {
  ExitCode code;
  const char* meaning;
};
std::vector<ExitText> ExitTexts();

/// --help of a command, or of the program for an empty name, on a terminal of `width` columns.
std::string HelpText(const ProgramText& program, const std::string& command, int width);

/// The script that completes command lines in a shell: bash, zsh or fish.
enum class Shell { kBash, kZsh, kFish };
std::string CompletionScript(const ProgramText& program, Shell shell);

/// The man page of a command, or of the program for an empty name. `date` is YYYY-MM-DD.
std::string ManPage(const ProgramText& program, const std::string& command, const std::string& date);

}  // namespace halfsafe
