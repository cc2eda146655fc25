#include "verify/load_check.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <regex>
#include <string>
#include <vector>

#include "base/temporary.h"
#include "data/convert.h"
#include "halfsafe/error.h"
#include "halfsafe/progress.h"
#include "model/graph_index.h"
#include "model/walk.h"
#include "runtime/written_out.h"

extern char** environ;

namespace halfsafe {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kLargest = uint64_t{2} << 30;
constexpr std::chrono::seconds kLongest{120};
constexpr int kRefused = 3;  ///< The program's exit code where ONNX Runtime says why.

/// Folders to look in, from the one that holds the library or the program: in a build and a wheel, beside an
/// installed library, and beside an installed program.
constexpr const char* kPlaces[] = {".", "bin", "halfsafe", HALFSAFE_PRIVATE_FROM_BIN};

/// The program's path; empty where there is none.
fs::path FindProgram() {
  std::vector<fs::path> folders;
  Dl_info info{};
  if (dladdr(reinterpret_cast<const void*>(&FindProgram), &info) != 0 && std::strchr(info.dli_fname, '/'))
    folders.push_back(fs::path(info.dli_fname).parent_path());
  std::error_code ignored;
  folders.push_back(fs::read_symlink("/proc/self/exe", ignored).parent_path());
  for (const fs::path& folder : folders) {
    for (const char* place : kPlaces) {
      fs::path program = folder / place / "halfsafe-load";
      if (!folder.empty() && access(program.c_str(), X_OK) == 0) return program;
    }
  }
  return {};
}

/// Writes the sample in the types that the model takes. False where it has what the file can't hold.
bool WriteInputs(const Sample& sample, const std::vector<InputSpec>& inputs, const fs::path& path) {
  std::ofstream file(path, std::ios::binary);
  for (const NamedArray& given : sample.inputs) {
    const auto input = std::ranges::find(inputs, given.name, &InputSpec::name);
    if (given.sequence || input == inputs.end() || DTypeSize(input->dtype) == 0 ||
        given.name.find('\n') != std::string::npos)
      return false;
    const Array array =
        given.array.dtype == input->dtype ? given.array : ConvertArray(given.array, input->dtype, given.name);
    file << given.name << "\n" << static_cast<int>(array.dtype) << " " << array.shape.size();
    for (const int64_t dim : array.shape) file << " " << dim;
    file << "\n";
    file.write(reinterpret_cast<const char*>(array.bytes.data()),
               static_cast<std::streamsize>(array.bytes.size()));
  }
  return file.good();
}

/// How a process ended, and what it wrote to its standard output.
struct Ending {
  int status = 0;
  std::string output;
};

/// Runs a program; nothing where it can't be started or takes too long.
std::optional<Ending> RunProgram(const std::vector<std::string>& words) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return std::nullopt;
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  std::vector<char*> argv;
  for (const std::string& word : words) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  posix_spawnattr_t attributes;  // Signals are not blocked there as they may be here.
  posix_spawnattr_init(&attributes);
  sigset_t none;
  sigemptyset(&none);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
  pid_t child = -1;
  const int failed = posix_spawn(&child, argv[0], &actions, &attributes, argv.data(), environ);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  close(ends[1]);
  if (failed != 0) {
    close(ends[0]);
    return std::nullopt;
  }
  Ending ending;
  const auto deadline = std::chrono::steady_clock::now() + kLongest;
  bool open = true;
  while (open && std::chrono::steady_clock::now() < deadline && !interrupt_requested) {
    pollfd waited{ends[0], POLLIN, 0};
    if (poll(&waited, 1, 100) <= 0) continue;
    char text[4096];
    const ssize_t count = read(ends[0], text, sizeof(text));
    open = count > 0;
    if (open) ending.output.append(text, static_cast<size_t>(count));
  }
  if (open) kill(child, SIGKILL);
  close(ends[0]);
  while (waitpid(child, &ending.status, 0) < 0 && errno == EINTR) {
  }
  ThrowIfInterrupted();
  return open ? std::nullopt : std::optional(ending);
}

/// The model with a name for each node: ONNX Runtime names them in its messages.
Model WithNames(const Model& model) {
  onnx::ModelProto proto = model.proto();
  proto.clear_metadata_props();  // ONNX Runtime can be told to take options from there.
  for (onnx::GraphProto* graph : AllGraphs(proto.mutable_graph())) {
    for (auto& node : *graph->mutable_node()) node.set_name(LocalNodeName(node));
  }
  return {model, std::move(proto)};
}

/// The node that ONNX Runtime's words name; empty where they name none of the model's.
std::string NodeNamed(const std::string& message, const Model& model) {
  static const std::regex kNames(R"(with name '([^']*)'|Name:'([^']*)'|in node \(([^)]*)\)|node:([^\s]+))");
  for (auto match = std::sregex_iterator(message.begin(), message.end(), kNames);
       match != std::sregex_iterator(); ++match) {
    for (size_t group = 1; group < match->size(); ++group) {
      const std::string name = (*match)[group].str();
      for (const NodeInfo& node : model.index().nodes()) {
        if (!name.empty() && (node.name == name || LocalNodeName(*node.proto) == name)) return node.name;
      }
    }
  }
  return "";
}

/// ONNX Runtime's words without what is the same in all, and what CpuResult says beside them.
std::string Shortened(std::string message) {
  static const std::regex kSame(
      R"(^\[ONNXRuntimeError\] : \d+ : \w+ : |/\S*/onnxruntime/\S+:\d+ )"
      R"(|Non-zero status code returned while running \S+ node. Name:'[^']*' Status Message: )");
  message = std::regex_replace(message, kSame, "");
  std::ranges::replace(message, '\n', ' ');
  message.erase(message.find_last_not_of(' ') + 1);
  constexpr size_t kLongestShown = 500;
  return message.substr(0, kLongestShown);
}

CpuResult ResultOf(const Ending& ending, const Model& fixed) {
  CpuResult result;
  if (WIFEXITED(ending.status) && WEXITSTATUS(ending.status) == 0) return result;
  result.runs = false;
  const size_t line = ending.output.find('\n');
  if (WIFEXITED(ending.status) && WEXITSTATUS(ending.status) == kRefused && line != std::string::npos) {
    result.stage = ending.output.substr(0, line);
    const std::string message = ending.output.substr(line + 1);
    result.node = NodeNamed(message, fixed);
    result.message = Shortened(message);
    return result;
  }
  result.stage = "load";
  result.message = WIFSIGNALED(ending.status)
                       ? fmt::format("its process ended with signal {} ({})", WTERMSIG(ending.status),
                                     strsignal(WTERMSIG(ending.status)))
                       : fmt::format("its process ended with exit code {}", WEXITSTATUS(ending.status));
  return result;
}

}  // namespace

std::optional<CpuResult> RunOnCpu(const Model& fixed, const SampleSource& samples,
                                  const CheckOptions& options) {
  if (options.low_memory || samples.size() == 0 || fixed.bytes() > kLargest) return std::nullopt;
  // What takes a form of ONNX Runtime's own to run here does not run there at all.
  if (RunnableForm(fixed, !options.custom_op_libraries.empty(), Types::kEmulated)) return std::nullopt;
  const fs::path program = FindProgram();
  if (program.empty()) return std::nullopt;
  std::error_code error;
  // A place of this process alone: of one that many share each would take the other's for stale.
  const fs::path place = fs::temp_directory_path(error) / fmt::format("halfsafe-load-{}", getpid());
  const Temporary folder = error ? Temporary() : Temporary::Folder(place);
  if (!folder) return std::nullopt;
  const fs::path model = folder.path() / "model.onnx", inputs = folder.path() / "inputs";
  bool written = false;
  try {
    WithNames(fixed).Save(model);
    written = WriteInputs(samples.Read(0), fixed.Inputs(), inputs);
  } catch (const Error& failed) {
    if (failed.code() == ExitCode::kInterrupted) throw;
    return std::nullopt;  // No room for a copy: nothing is wrong with the model.
  }
  std::vector<std::string> words = {program, model, written ? inputs.string() : "", "all"};
  for (const fs::path& library : options.custom_op_libraries) words.push_back(fs::absolute(library));
  std::optional<Ending> ending = RunProgram(words);
  if (!ending) return std::nullopt;
  CpuResult result = ResultOf(*ending, fixed);
  if (result.runs) return result;
  words[3] = "basic";
  ending = RunProgram(words);
  result.runs_at_basic = ending && ResultOf(*ending, fixed).runs;
  return result;
}

}  // namespace halfsafe
