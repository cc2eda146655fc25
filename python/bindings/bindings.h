#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "halfsafe/halfsafe.h"
#include "report/report.h"

namespace halfsafe::python {

namespace nb = nanobind;

/// A model as Python holds it: the value that stages read, and what the command line keeps beside it.
struct LoadedModel {
  std::shared_ptr<const Model> model;
  std::shared_ptr<const Model> original;  ///< Where `model` was raised to another opset: as it was.
  std::vector<std::filesystem::path> custom_ops;
  bool in_memory = false;  ///< Of no file: it came as bytes, or a plan was applied to it.
  bool applied = false;    ///< A plan was applied: its hash is still that of the model that it was made from.

  const Model& reference() const { return original ? *original : *model; }
};

/// The model as a stage may take it that hashes what it reads: one that a plan was applied to becomes a model
/// of its own.
LoadedModel AsInput(const LoadedModel& model);
/// What ranges or a plan, which hold `sha256` and `opset`, were made for.
LoadedModel ModelFor(const LoadedModel& model, const std::string& sha256, std::optional<int> opset);

/// Samples as stages read them.
struct Samples {
  std::shared_ptr<const SampleSource> source;
};

/// What a check found, and all that there is to say about it.
struct CheckReport {
  CheckResult result;
  Report report;
};

/// What Fix made, with the model as Python holds it.
struct FixReport {
  LoadedModel original;
  LoadedModel fixed;
  Plan plan;
  RangeTable ranges;
  CheckReport check;
  std::optional<CheckReport> holdout;
  bool right = false;
  bool only_fp32 = false;
};

/// A report with the model's part filled in.
Report StartReport(const char* command, const LoadedModel& model);

Provider ProviderFrom(const std::string& name);
/// Throws Error(kUsage) unless `good`.
void Require(bool good, const std::string& message);

// Each adds the classes and functions of one stage to the module.
void BindErrors(nb::module_& module);
void BindModel(nb::module_& module);
void BindSamples(nb::module_& module);
void BindRanges(nb::module_& module);
void BindPlan(nb::module_& module);
void BindCheck(nb::module_& module);
void BindFix(nb::module_& module);

}  // namespace halfsafe::python
