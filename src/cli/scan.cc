#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <filesystem>
#include <memory>
#include <optional>

#include "base/cores.h"
#include "base/file.h"
#include "cli/options.h"
#include "ranks/ranks.h"

namespace halfsafe {
namespace {

/// The part of the samples that one process scans: number `index`, from 0, of `count`.
struct Share {
  uint64_t index = 0;
  uint64_t count = 1;

  std::string OfFile(const std::string& path) const {
    return path.empty() || count == 1 ? path : fmt::format("{}.{}-of-{}", path, index + 1, count);
  }
};

Share ParseShard(const std::string& text) {
  uint64_t shard = 0, count = 0;
  const char* const end = text.data() + text.size();
  const auto first = std::from_chars(text.data(), end, shard);
  if (first.ptr != end && *first.ptr == '/') {
    const auto second = std::from_chars(first.ptr + 1, end, count);
    if (second.ptr != end) count = 0;
  }
  if (shard < 1 || shard > count)
    throw BadUsage(fmt::format("--shard is '{}', expected I/N with I from 1 to N, as in 2/8", text));
  return {shard - 1, count};
}

struct ScanCommand {
  CommonOptions common;
  ScanOptions options;
  bool no_optimizations = false;
  std::string shard;
  std::vector<std::string> outputs;

  ExitCode Run() {
    // Processes that were given a shard each don't talk to each other.
    const std::unique_ptr<Ranks> ranks = shard.empty() ? ConnectRanks() : nullptr;
    if (!ranks) return RunShare(shard.empty() ? Share{} : ParseShard(shard), nullptr);
    try {
      const ExitCode code =
          RunShare({static_cast<uint64_t>(ranks->rank()), static_cast<uint64_t>(ranks->size())}, ranks.get());
      ranks->Finish();
      return code;
    } catch (const Error& error) {
      throw Error(error.code(), fmt::format("rank {} of {}: {}", ranks->rank(), ranks->size(), error.what()));
    }
  }

 private:
  ExitCode RunShare(const Share& share, Ranks* ranks) {
    const auto start = std::chrono::steady_clock::now();
    const bool first = ranks == nullptr || ranks->rank() == 0;
    if (first) {
      RequireOutputs(&common,
                     {{"--checkpoint", options.checkpoint}, {"--save-outputs", options.save_outputs, true}},
                     outputs);
    }
    ConsoleProgress progress(common.quiet || !first);
    const Model model = LoadRunnable(common.model, common, common.opset);
    RangeTable ranges = ScanShare(model, share, ranks, &progress);
    if (ranks != nullptr) {
      std::optional<RangeTable> joined = ranks->Join(ranges);
      if (!joined) return ExitCode::kOk;
      ranges = *std::move(joined);
    }
    if (shard.empty() && ranges.samples == 0 && !ranges.skipped.empty()) {
      throw BadInput(fmt::format("none of the {} samples is good; {}", ranges.skipped.size(),
                                 ranges.skipped.front().reason));
    }
    if (!common.output.empty()) WriteFileAtomically(common.output, ToJson(ranges));
    Report report = StartReport("scan", model);
    AddRanges(model, ranges, common.threshold, &report);
    report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    WriteReportFile(report, {model, &ranges, common.threshold}, common);
    const ExitCode code = Finish(report, common, ExitCode::kOk);
    RemoveCheckpoints(share.count);
    return code;
  }

  RangeTable ScanShare(const Model& model, const Share& share, const Ranks* ranks, Progress* progress) {
    options.threads = ThreadsOf(ranks);
    options.custom_op_libraries = Paths(common.custom_ops);
    options.optimize = !no_optimizations;
    options.low_memory = common.low_memory;
    options.allow_nan = common.allow_nan;
    const std::string checkpoint = options.checkpoint;
    ScanOptions mine = options;
    mine.checkpoint = share.OfFile(checkpoint);
    if (ranks != nullptr && !options.save_outputs.empty())
      throw BadUsage("--save-outputs writes the samples of one process: run it without an MPI launcher");
    if (!outputs.empty()) {
      if (options.skip_bad_samples || !checkpoint.empty())
        throw BadUsage("--skip-bad-samples and --checkpoint are for --data, not for --from-outputs");
      if (options.provider != Provider::kCpu)
        throw BadUsage("--provider is for --data: --from-outputs runs nothing");
      const auto recorded = OpenRecordedOutputs(Paths(outputs));
      RequireApart(common, *recorded);
      return ScanRecorded(model, *EverySample(*recorded, share.index, share.count), progress);
    }
    const auto samples = OpenData(model, common, progress);
    return Scan(model, *EverySample(*samples, share.index, share.count), mine, progress);
  }

  /// Those that share a machine share its cores. A rank that its launcher binds to fewer takes those.
  int ThreadsOf(const Ranks* ranks) const {
    if (common.threads > 0 || ranks == nullptr) return common.threads;
    return std::min(UsableCores(), std::max(1, MachineCores() / ranks->here()));
  }

  /// The result is written: what it could have been continued from has served.
  void RemoveCheckpoints(uint64_t count) const {
    if (options.checkpoint.empty()) return;
    std::error_code ignored;
    for (uint64_t i = 0; i < count; ++i) {
      if (shard.empty() || ParseShard(shard).index == i)
        std::filesystem::remove(Share{i, count}.OfFile(options.checkpoint), ignored);
    }
  }
};

}  // namespace

Command SetUpScan(CLI::App* app) {
  auto command = std::make_shared<ScanCommand>();
  AddModel(app, &command->common);
  AddData(app, &command->common);
  AddRandomShapes(app, &command->common);
  AddAllowNan(app, &command->common);
  AddOpset(app, &command->common);
  AddLiftClamps(app, &command->common);
  AddOutput(app, &command->common, "RANGES.json", "The ranges", false);
  app->add_option("--from-outputs", command->outputs,
                  "Tensors recorded by Polygraphy (--save-outputs), in place of running anything")
      ->type_name("PATH");
  app->add_option("--save-outputs", command->options.save_outputs,
                  "Also write tensors here, in Polygraphy's output JSON: one file, or a folder")
      ->type_name("PATH");
  app->add_option("--tensors", command->options.save_tensors,
                  "Which tensors --save-outputs writes: a regular expression")
      ->type_name("REGEX");
  app->add_option("--shard", command->shard,
                  "I/N: scan only the I-th of N shares of the samples (halfsafe merge joins the results)")
      ->type_name("I/N");
  app->add_flag("--skip-bad-samples", command->options.skip_bad_samples,
                "Leave out samples that can't be read or run, and name them");
  app->add_option("--checkpoint", command->options.checkpoint,
                  "Keep what was seen so far in this file, and go on from it when it is there")
      ->type_name("PATH");
  app->add_flag("--no-graph-optimizations", command->no_optimizations, "Run the graph as it is written");
  AddJudgedThreshold(app, &command->common);
  AddProvider(app, &command->options.provider,
              "What ONNX Runtime runs on: cpu (default), or cuda, where statistics are taken on the GPU too");
  AddRuntime(app, &command->common);
  AddLowMemory(app, &command->common);
  AddResult(app, &command->common);
  AddReportFile(app, &command->common);
  AddFailOn(app, &command->common);
  return [command] { return command->Run(); };
}

}  // namespace halfsafe
