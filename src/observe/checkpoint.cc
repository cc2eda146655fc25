#include "observe/checkpoint.h"

#include <fmt/format.h>

#include <algorithm>
#include <span>

#include "base/file.h"
#include "base/json.h"
#include "halfsafe/error.h"
#include "halfsafe/progress.h"
#include "observe/ranges_json.h"

namespace halfsafe {
namespace {

using Clock = std::chrono::steady_clock;

/// What is lost at most when a scan is killed.
constexpr std::chrono::seconds kInterval{10};
/// Of a scan's time, one part in so many goes into saving.
constexpr int kShare = 50;

/// A digest of what decides the result, beside the model: the samples in their order, and how they are run.
std::string ScanDigest(const ScanOptions& options, const SampleSource& samples) {
  std::string text =
      fmt::format("optimize {}, low memory {}, skip {}, cuda {}\n", options.optimize, options.low_memory,
                  options.skip_bad_samples, options.provider == Provider::kCuda);
  for (uint64_t i = 0; i < samples.size(); ++i) {
    ThrowIfInterrupted();
    text += samples.Name(i);
    text += '\n';
  }
  return Sha256Hex(std::as_bytes(std::span(text)));
}

}  // namespace

Checkpoint::Checkpoint(const ScanOptions& options, const Model& model, const SampleSource& samples)
    : path_(options.checkpoint), saved_(Clock::now()) {
  if (path_.empty()) return;
  RequireWritable(path_);
  scan_ = ScanDigest(options, samples);
  if (std::filesystem::exists(path_)) Read(model, samples.size());
}

void Checkpoint::Read(const Model& model, uint64_t samples) {
  const MappedFile file(path_, "checkpoint");
  RangeTable before = RangesFromJson(file.text(), path_);
  const nlohmann::json json = ParseJson(file.text(), path_);
  const JsonReader root(json, path_);
  const auto other = [&](std::string_view what) {
    return BadInput(
        fmt::format("{}: is of a scan with {}; remove it to start from the first sample", path_, what));
  };
  if (before.model_sha256 != model.sha256() || before.opset != model.raised_opset() ||
      before.lift_clamps != model.lifts_clamps())
    throw other("another model");
  if (root.String("scan_sha256") != scan_) throw other("other samples or options");
  done_ = root.Unsigned("done");
  if (done_ > samples || before.samples + before.skipped.size() != done_)
    throw root.Wrong("done", "the number of samples that were scanned or skipped");
  before_ = std::move(before);
}

RangeTable Checkpoint::Join(RangeTable now) const {
  if (!before_) return now;
  return MergeRanges({*before_, std::move(now)});
}

void Checkpoint::Update(uint64_t done, const Table& table) {
  if (path_.empty() || Clock::now() - saved_ < std::max<Clock::duration>(kInterval, cost_ * kShare)) return;
  Save(done, table);
}

void Checkpoint::Save(uint64_t done, const Table& table) {
  if (path_.empty()) return;
  const auto start = Clock::now();
  nlohmann::ordered_json json = RangesJson(table());
  json["scan_sha256"] = scan_;
  json["done"] = done;
  AtomicFile file(path_);
  file.Write(DumpJson(json));
  file.Sync();  // Hours of work may be in it.
  file.Commit();
  saved_ = Clock::now();
  cost_ = saved_ - start;
}

}  // namespace halfsafe
