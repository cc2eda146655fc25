#include <fmt/format.h>

#include "base/file.h"
#include "bindings.h"
#include "halfsafe/diff.h"
#include "report/diff.h"
#include "work.h"

namespace halfsafe::python {
namespace {

using nb::literals::operator""_a;

ScanOptions OptionsFor(const LoadedModel& model, ScanOptions options) {
  options.custom_op_libraries = model.custom_ops;
  return options;
}

RangeTable ScanAll(const LoadedModel& given, const Samples& samples, const ScanOptions& options,
                   const nb::object& progress) {
  return Run(progress, [&](Progress* listener) {
    const LoadedModel model = AsInput(given);
    RangeTable ranges = Scan(*model.model, *samples.source, OptionsFor(model, options), listener);
    if (ranges.samples == 0 && !ranges.skipped.empty()) {
      throw BadInput(fmt::format("none of the {} samples is good; {}", ranges.skipped.size(),
                                 ranges.skipped.front().reason));
    }
    return ranges;
  });
}

void MakeScanOptions(ScanOptions* self, int threads, bool low_memory, bool optimize, bool skip_bad_samples,
                     const std::string& checkpoint, const std::string& provider, bool allow_nan) {
  Require(threads >= 0 && threads <= 4096, fmt::format("threads is {}, expected 0 to 4096", threads));
  auto* options = new (self) ScanOptions;
  options->threads = threads;
  options->low_memory = low_memory;
  options->allow_nan = allow_nan;
  options->optimize = optimize;
  options->skip_bad_samples = skip_bad_samples;
  options->checkpoint = checkpoint;
  options->provider = ProviderFrom(provider);
}

const TensorStats& Named(const RangeTable& ranges, const std::string& name) {
  const TensorStats* stats = ranges.Find(name);
  if (stats == nullptr) throw nb::key_error(name.c_str());
  return *stats;
}

}  // namespace

void BindRanges(nb::module_& module) {
  nb::class_<TensorStats>(module, "TensorStats", "What one tensor did over every sample.")
      .def_ro("name", &TensorStats::name)
      .def_prop_ro("dtype", [](const TensorStats& stats) { return DTypeName(stats.dtype); })
      .def_ro("constant", &TensorStats::constant, "A weight: read from the model, not observed.")
      .def_ro("count", &TensorStats::count, "Finite values.")
      .def_ro("min", &TensorStats::min, "Smallest finite value.")
      .def_ro("max", &TensorStats::max, "Largest finite value.")
      .def_ro("abs_max", &TensorStats::abs_max, "Largest magnitude of a finite value.")
      .def_ro("abs_max_sample", &TensorStats::abs_max_sample, "The sample that showed abs_max.")
      .def_ro("nan_count", &TensorStats::nan_count)
      .def_ro("inf_count", &TensorStats::inf_count)
      .def_ro("overflow_count", &TensorStats::overflow_count, "Finite values past 65504.")
      .def_ro("subnormal_count", &TensorStats::subnormal_count, "Values that FP16 makes subnormal or zero.")
      .def_ro("exponents", &TensorStats::exponents, "How many values have 2**key <= |x| < 2**(key + 1).")
      .def_ro("sum_bound", &TensorStats::sum_bound,
              "No partial sum passed this; None where nothing is summed.")
      .def("__repr__", [](const TensorStats& stats) {
        return fmt::format("<TensorStats {} {}, abs_max {:.6g}>", stats.name, DTypeName(stats.dtype),
                           stats.abs_max);
      });

  nb::class_<SkippedSample>(module, "SkippedSample", "A sample that a scan left out.")
      .def_ro("name", &SkippedSample::name)
      .def_ro("reason", &SkippedSample::reason);

  nb::class_<RangeTable>(module, "Ranges", "What every floating-point tensor of a model did, in graph order.")
      .def_ro("model_sha256", &RangeTable::model_sha256)
      .def_ro("opset", &RangeTable::opset, "That the model was raised to before it was scanned, if it was.")
      .def_ro("samples", &RangeTable::samples, "How many samples ran.")
      .def_ro("skipped", &RangeTable::skipped)
      .def_ro("tensors", &RangeTable::tensors)
      .def("__len__", [](const RangeTable& ranges) { return ranges.tensors.size(); })
      .def("__getitem__", &Named, "name"_a, nb::rv_policy::copy, "The tensor of this name.")
      .def(
          "__contains__",
          [](const RangeTable& ranges, const std::string& name) { return ranges.Find(name) != nullptr; },
          "name"_a)
      .def(
          "overflowing",
          [](const RangeTable& ranges, double threshold) { return OverflowingTensors(ranges, threshold); },
          "threshold"_a = 10000.0,
          "Names of the tensors past the threshold, or with infinite values or NaN; in graph order.")
      .def(
          "to_json", [](const RangeTable& ranges) { return ToJson(ranges); },
          "A halfsafe-ranges file's text.")
      .def_static(
          "from_json", [](const std::string& text) { return RangesFromJson(text, "ranges"); }, "text"_a)
      .def(
          "save",
          [](const RangeTable& ranges, const std::filesystem::path& path) {
            WriteFileAtomically(path, ToJson(ranges));
          },
          "path"_a, "Writes what `halfsafe scan -o` writes.")
      .def_static(
          "load",
          [](const std::filesystem::path& path) {
            return RangesFromJson(MappedFile(path, "ranges").text(), path.string());
          },
          "path"_a, "Reads what `halfsafe scan -o` wrote.")
      .def("__getstate__", [](const RangeTable& ranges) { return ToJson(ranges); })
      .def("__setstate__",
           [](RangeTable& ranges, const std::string& text) {
             new (&ranges) RangeTable(RangesFromJson(text, "ranges"));
           })
      .def("__repr__", [](const RangeTable& ranges) {
        return fmt::format("<Ranges of {} tensors over {} samples>", ranges.tensors.size(), ranges.samples);
      });

  nb::class_<ScanOptions>(module, "ScanOptions")
      .def("__init__", &MakeScanOptions, "threads"_a, "low_memory"_a, "optimize"_a, "skip_bad_samples"_a,
           "checkpoint"_a, "provider"_a, "allow_nan"_a);
  nb::class_<TensorChange>(module, "TensorChange",
                           "A tensor that two scans saw differently, or that one of them lacks.")
      .def_ro("name", &TensorChange::name)
      .def_ro("before", &TensorChange::before, "In the earlier scan; None where it lacks the tensor.")
      .def_ro("after", &TensorChange::after, "In the later scan, likewise.")
      .def_prop_ro("level_before",
                   [](const TensorChange& change) { return RangeLevelName(change.level_before); })
      .def_prop_ro(
          "level_after", [](const TensorChange& change) { return RangeLevelName(change.level_after); },
          "'within', 'past-threshold', 'past-65504' or 'not-finite'.")
      .def_ro("log2_factor", &TensorChange::log2_factor,
              "Of the largest |x|; None where that is 0 or unknown.")
      .def_prop_ro("worse", &TensorChange::Worse, "Past a limit that it was within before, or new past one.")
      .def_prop_ro("better", &TensorChange::Better, "Within a limit that it was past before.")
      .def("__repr__", [](const TensorChange& change) {
        return fmt::format("<TensorChange {}: {} to {}>", change.name, RangeLevelName(change.level_before),
                           RangeLevelName(change.level_after));
      });
  nb::class_<RangesDiff>(module, "RangesDiff", "What changed from one scan to another.")
      .def_ro("changes", &RangesDiff::changes,
              "In the order of the later scan; tensors that it lacks stand behind.")
      .def_ro("common", &RangesDiff::common, "How many tensors both have.")
      .def_prop_ro("same_model", &RangesDiff::SameModel, "Both scans are of one file, at one opset.")
      .def_prop_ro("new_overflow", &RangesDiff::NewOverflow, "Any change is for the worse.")
      .def(
          "report", [](const RangesDiff& diff, int width) { return ToText(diff, width, false); },
          "width"_a = 100, "What `halfsafe diff` prints.")
      .def(
          "to_json", [](const RangesDiff& diff) { return ToJson(diff); }, "A halfsafe-diff file's text.")
      .def("__repr__", [](const RangesDiff& diff) {
        return fmt::format("<RangesDiff: {} changes{}>", diff.changes.size(),
                           diff.NewOverflow() ? ", new overflow" : "");
      });
  module.def(
      "diff",
      [](const RangeTable& before, const RangeTable& after, double threshold) {
        Require(threshold > 0.0, fmt::format("threshold is {}, expected a number above zero", threshold));
        return Diff(before, after, {threshold});
      },
      "before"_a, "after"_a, "threshold"_a);

  module.def("scan", &ScanAll, "model"_a, "samples"_a, "options"_a, "progress"_a.none());
  module.def("merge", &MergeRanges, "ranges"_a);
}

}  // namespace halfsafe::python
