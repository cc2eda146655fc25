#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "cli/console.h"
#include "cli/describe.h"
#include "cli/options.h"

namespace halfsafe {
namespace {

using Of = ValueKind::Of;

std::string Joined(const std::vector<std::string>& words) { return fmt::format("{}", fmt::join(words, " ")); }

/// Text inside the single quotes of a shell that has no escapes there (bash, zsh).
std::string Quoted(std::string_view text) {
  std::string quoted = "'";
  for (const char c : text) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

// ---- bash

/// What _halfsafe_offer below takes.
std::string BashKind(const ValueKind& kind) {
  switch (kind.of) {
    case Of::kWords:
      return "words " + Joined(kind.words);
    case Of::kSuffix:
      return "suffix " + kind.suffix;
    case Of::kFolder:
      return "folder";
    case Of::kPath:
      return "path";
    default:
      return "unknown";
  }
}

constexpr char kBashBegin[] =
    R"(# Completion of halfsafe's command lines for bash; made by: halfsafe completion bash

# Offers what the word $1 may become: words, files or folders, as $2 says.
_halfsafe_offer() {
  local word=$1
  case $2 in
    'words '*) mapfile -t COMPREPLY < <(compgen -W "${2#words }" -- "$word") ;;
    'suffix '*)
      compopt -o filenames 2>/dev/null
      mapfile -t COMPREPLY < <(compgen -d -- "$word"; compgen -f -X "!*${2#suffix }" -- "$word")
      ;;
    folder)
      compopt -o filenames 2>/dev/null
      mapfile -t COMPREPLY < <(compgen -d -- "$word")
      ;;
    path)
      compopt -o filenames 2>/dev/null
      mapfile -t COMPREPLY < <(compgen -f -- "$word")
      ;;
  esac
}

# Sets `kind` and `many`: what option $2 of command $1 takes; without an option, what its arguments are.
_halfsafe_kind() {
  kind=flag many=''
  case "$1 $2" in
)";

constexpr char kBashEnd[] = R"(  esac
}

_halfsafe() {
  local word=${COMP_WORDS[COMP_CWORD]} command=${COMP_WORDS[1]} option='' kind many options i
  COMPREPLY=()
  if ((COMP_CWORD == 1)); then
    _halfsafe_offer "$word" "words $_halfsafe_commands --help --version"
    return
  fi
  _halfsafe_options "$command"
  # The option that the word is a value of, if any. bash makes three words of --option=value.
  for ((i = 2; i < COMP_CWORD; i++)); do
    case ${COMP_WORDS[i]} in
      =) ;;
      -*)
        option=${COMP_WORDS[i]}
        _halfsafe_kind "$command" "$option"
        [[ $kind == flag ]] && option=''
        ;;
      *)
        _halfsafe_kind "$command" "$option"
        [[ -z $many ]] && option=''
        ;;
    esac
  done
  [[ $word == '=' ]] && word=''
  if [[ $word == -* ]]; then
    _halfsafe_offer "$word" "words $options"
    return
  fi
  _halfsafe_kind "$command" "$option"
  _halfsafe_offer "$word" "$kind"
}

complete -F _halfsafe halfsafe
)";

std::string BashScript(const ProgramText& program) {
  std::string text = kBashBegin, commands, options;
  for (const CommandText& command : program.commands) {
    commands += (commands.empty() ? "" : " ") + command.name;
    std::vector<std::string> names;
    for (const OptionText& option : command.options) {
      names.insert(names.end(), option.names.begin(), option.names.end());
      if (option.value.empty()) continue;
      std::vector<std::string> patterns;
      for (const std::string& name : option.names) patterns.push_back(Quoted(command.name + " " + name));
      text += fmt::format("    {}) kind={}{} ;;\n", fmt::join(patterns, " | "),
                          Quoted(BashKind(option.Kind())), option.repeated ? " many=1" : "");
    }
    if (!command.arguments.empty())
      text += fmt::format("    {}) kind={} ;;\n", Quoted(command.name + " "),
                          Quoted(BashKind(command.ArgumentKind())));
    options += fmt::format("    {}) options={} ;;\n", command.name, Quoted(Joined(names)));
  }
  std::string end = kBashEnd;
  end.insert(
      end.find("_halfsafe() {"),
      fmt::format("_halfsafe_commands={}\n\n# Sets `options`: those of command $1.\n_halfsafe_options() {{\n"
                  "  options=''\n  case $1 in\n{}  esac\n}}\n\n",
                  Quoted(commands), options));
  return text + end;
}

// ---- zsh

/// The action of a specification for _arguments; nothing is offered for what only the user knows.
std::string ZshAction(const ValueKind& kind) {
  switch (kind.of) {
    case Of::kWords:
      return "(" + Joined(kind.words) + ")";
    case Of::kSuffix:
      return "_files -g \"*" + kind.suffix + "\"";
    case Of::kFolder:
      return "_files -/";
    case Of::kPath:
      return "_files";
    default:
      return "";
  }
}

/// Text where _arguments gives brackets and colons a meaning.
std::string ZshEscaped(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    if (c == '[' || c == ']' || c == ':' || c == '\\') escaped += '\\';
    escaped += c;
  }
  return escaped;
}

/// (-o --output)'{-o,--output}'[what]:VALUE:action
std::string ZshOption(const OptionText& option) {
  std::string rest = "[" + ZshEscaped(option.Brief()) + "]";
  if (!option.value.empty())
    rest += fmt::format(":{}:{}", ZshEscaped(option.Kind().of == Of::kWords ? "one of" : option.value),
                        ZshAction(option.Kind()));
  if (option.repeated) {
    std::string text;
    for (const std::string& name : option.names) text += " \\\n          " + Quoted("*" + name + rest);
    return text;
  }
  const std::string exclusive = fmt::format("({})", fmt::join(option.names, " "));
  if (option.names.size() == 1) return " \\\n          " + Quoted(exclusive + option.names[0] + rest);
  return fmt::format(" \\\n          {}{{{}}}{}", Quoted(exclusive), fmt::join(option.names, ","),
                     Quoted(rest));
}

std::string ZshScript(const ProgramText& program) {
  std::string text =
      "#compdef halfsafe\n# Completion of halfsafe's command lines for zsh; made by: halfsafe completion "
      "zsh\n\n"
      "_halfsafe() {\n  local context state state_descr line\n  typeset -A opt_args\n  local -a commands\n"
      "  commands=(\n";
  for (const CommandText& command : program.commands)
    text += fmt::format("    {}\n", Quoted(command.name + ":" + command.summary));
  text +=
      "  )\n  _arguments -C '(- *)'{-h,--help}'[say what there is]' '(- *)--version[print the version]' \\\n"
      "    '1:command:->command' '*::argument:->arguments'\n  case $state in\n"
      "    command) _describe -t commands command commands ;;\n    arguments)\n      case $words[1] in\n";
  for (const CommandText& command : program.commands) {
    text += fmt::format("        {})\n          _arguments", command.name);
    for (const OptionText& option : command.options) text += ZshOption(option);
    // The last argument's kind also serves the further values of options that take several.
    for (const OptionText& argument : command.arguments) {
      text += " \\\n          " + Quoted(fmt::format("{}:{}:{}", argument.repeated ? "*" : "",
                                                     argument.names[0], ZshAction(argument.Kind())));
    }
    const bool takes_more = std::any_of(
        command.options.begin(), command.options.end(),
        [](const OptionText& option) { return option.repeated && option.Kind().of == Of::kPath; });
    const bool open = std::any_of(command.arguments.begin(), command.arguments.end(),
                                  [](const OptionText& argument) { return argument.repeated; });
    if (takes_more && !open) text += " \\\n          '*:PATH:_files'";
    text += "\n          ;;\n";
  }
  // Loaded by its name, the file is the function's body; sourced, it has to register it.
  return text +
         "      esac\n      ;;\n  esac\n}\n\nif [[ ${funcstack[1]} == _halfsafe ]]; then\n  _halfsafe "
         "\"$@\"\nelse\n"
         "  compdef _halfsafe halfsafe\nfi\n";
}

// ---- fish

/// Text inside fish's single quotes, where a backslash escapes itself and the quote.
std::string FishQuoted(std::string_view text) {
  std::string quoted = "'";
  for (const char c : text) {
    if (c == '\'' || c == '\\') quoted += '\\';
    quoted += c;
  }
  return quoted + "'";
}

std::string FishValue(const ValueKind& kind) {
  switch (kind.of) {
    case Of::kWords:
      return "-x -a " + FishQuoted(Joined(kind.words));
    case Of::kSuffix:
      return "-x -k -a " + FishQuoted(fmt::format("(__fish_complete_suffix {})", kind.suffix));
    case Of::kFolder:
      return "-x -a '(__fish_complete_directories)'";
    case Of::kPath:
      return "-r -F";
    default:
      return "-x";
  }
}

std::string FishScript(const ProgramText& program) {
  std::string text =
      "# Completion of halfsafe's command lines for fish; made by: halfsafe completion fish\n\ncomplete -c "
      "halfsafe -f\n"
      "complete -c halfsafe -n __fish_use_subcommand -s h -l help -d 'Say what there is'\n"
      "complete -c halfsafe -n __fish_use_subcommand -l version -d 'Print the version'\n";
  for (const CommandText& command : program.commands) {
    text += fmt::format("\ncomplete -c halfsafe -n __fish_use_subcommand -a {} -d {}\n", command.name,
                        FishQuoted(command.summary));
    const std::string here =
        fmt::format("complete -c halfsafe -n {}", FishQuoted("__fish_seen_subcommand_from " + command.name));
    for (const OptionText& option : command.options) {
      std::string names;
      for (const std::string& name : option.names)
        names += name.starts_with("--") ? " -l " + name.substr(2) : " -s " + name.substr(1);
      text +=
          fmt::format("{}{}{} -d {}\n", here, names,
                      option.value.empty() ? "" : " " + FishValue(option.Kind()), FishQuoted(option.Brief()));
    }
    const ValueKind arguments = command.ArgumentKind();
    if (arguments.of == Of::kPath) text += here + " -F\n";
    if (arguments.of != Of::kPath && arguments.of != Of::kUnknown)
      text += fmt::format("{} {}\n", here, FishValue(arguments).substr(3));  // -x is for options.
  }
  return text;
}

struct CompletionCommand {
  const CLI::App* program = nullptr;
  Shell shell = Shell::kBash;

  ExitCode Run() const {
    Write(stdout, CompletionScript(Describe(*program), shell));
    return ExitCode::kOk;
  }
};

}  // namespace

std::string CompletionScript(const ProgramText& program, Shell shell) {
  switch (shell) {
    case Shell::kZsh:
      return ZshScript(program);
    case Shell::kFish:
      return FishScript(program);
    default:
      return BashScript(program);
  }
}

Command SetUpCompletion(CLI::App* app) {
  auto command = std::make_shared<CompletionCommand>();
  command->program = app->get_parent();
  OneOf(app, "SHELL", &command->shell, "bash, zsh or fish",
        {{"bash", Shell::kBash}, {"zsh", Shell::kZsh}, {"fish", Shell::kFish}})
      ->required();
  return [command] { return command->Run(); };
}

}  // namespace halfsafe
