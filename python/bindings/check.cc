#include <fmt/format.h>

#include <chrono>

#include "bindings.h"
#include "work.h"

namespace halfsafe::python {
namespace {

using nb::literals::operator""_a;

void MakeCheckOptions(CheckOptions* self, double rel_l2, std::optional<double> rtol,
                      std::optional<double> atol, double max_flips, int threads, bool low_memory, bool plain,
                      const std::string& provider, bool allow_nan) {
  for (const auto& [name, value] :
       {std::pair{"rel_l2", std::optional(rel_l2)}, {"rtol", rtol}, {"atol", atol}})
    Require(!value || *value >= 0.0,
            fmt::format("{} is {}, expected zero or more", name, value.value_or(0.0)));
  Require(max_flips >= 0.0 && max_flips <= 1.0,
          fmt::format("max_flips is {}, expected a share from 0 to 1", max_flips));
  Require(threads >= 0 && threads <= 4096, fmt::format("threads is {}, expected 0 to 4096", threads));
  CheckOptions options;
  options.tolerance = {rel_l2, rtol, atol, max_flips};
  options.threads = threads;
  options.low_memory = low_memory;
  options.allow_nan = allow_nan;
  options.plain = plain;
  options.provider = ProviderFrom(provider);
  options.per_sample = true;
  new (self) CheckOptions(std::move(options));
}

CheckReport CheckAll(const LoadedModel& given, const LoadedModel& fixed, const Samples& samples,
                     CheckOptions options, const nb::object& progress) {
  return Run(progress, [&](Progress* listener) {
    const auto start = std::chrono::steady_clock::now();
    const LoadedModel model = AsInput(given);
    options.custom_op_libraries = model.custom_ops;
    CheckReport check;
    check.result = Check(model.reference(), *fixed.model, *samples.source, options, listener);
    Report& report = check.report = StartReport("check", model);
    report.samples = samples.source->size();
    AddFixed(*fixed.model, fixed.in_memory ? "" : fixed.model->path().string(), &report);
    report.tolerance = options.tolerance;
    AddCheck(*model.model, *fixed.model, check.result, &report);
    report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    return check;
  });
}

}  // namespace

void BindCheck(nb::module_& module) {
  nb::class_<SampleError>(module, "SampleError", "How one output differs from FP32's in one sample.")
      .def_ro("sample", &SampleError::sample)
      .def_ro("distance", &SampleError::distance)
      .def_ro("rel_l2", &SampleError::rel_l2)
      .def_ro("max_abs", &SampleError::max_abs)
      .def_ro("new_nonfinite", &SampleError::new_nonfinite)
      .def_ro("flips", &SampleError::flips)
      .def_ro("flip_share", &SampleError::flip_share)
      .def_ro("right", &SampleError::right)
      .def("__repr__", [](const SampleError& error) {
        return fmt::format("<SampleError {}: rel_l2 {:.3g}, {}>", error.sample, error.rel_l2,
                           error.right ? "right" : "not right");
      });
  nb::class_<OutputError>(module, "OutputError",
                          "How one output differs from FP32's; errors are the worst ones.")
      .def_ro("name", &OutputError::name)
      .def_prop_ro("dtype", [](const OutputError& error) { return DTypeName(error.dtype); })
      .def_ro("right", &OutputError::right, "Within the tolerance on every sample.")
      .def_ro("distance", &OutputError::distance, "How far from FP32, in tolerances: up to 1 is right.")
      .def_ro("distance_sample", &OutputError::distance_sample, "The sample where it was largest.")
      .def_ro("draws", &OutputError::draws, "Roundings that this sample ran under.")
      .def_ro("worst_draw", &OutputError::worst_draw, "The largest distance under one of them.")
      .def_ro("on_edge", &OutputError::on_edge, "Roundings lie on both sides of the tolerance.")
      .def_prop_ro(
          "worst_part",
          [](const OutputError& error) { return error.worst_part ? error.worst_part->where : std::string(); },
          "The part or index nearest to what is allowed, as numpy writes it; else empty.")
      .def_ro("rel_l2", &OutputError::rel_l2, "Relative L2 error of the whole output.")
      .def_ro("max_abs", &OutputError::max_abs)
      .def_ro("max_rel", &OutputError::max_rel)
      .def_ro("mean_abs", &OutputError::mean_abs)
      .def_ro("cosine", &OutputError::cosine)
      .def_ro("needed_atol", &OutputError::needed_atol)
      .def_ro("new_nonfinite", &OutputError::new_nonfinite, "Values not finite here that are finite in FP32.")
      .def_ro("flips", &OutputError::flips, "Differing elements of integer and bool outputs.")
      .def_ro("flip_share", &OutputError::flip_share)
      .def_ro("samples", &OutputError::samples, "The same of each sample, in the order in which they ran.")
      .def_ro("problem", &OutputError::problem,
              "A shape, a type or an infinity that differs, or that FP32 has no finite value; else empty.")
      .def("__repr__", [](const OutputError& error) {
        return fmt::format("<OutputError {}: rel_l2 {:.3g}, {}>", error.name, error.rel_l2,
                           error.right ? "right" : "not right");
      });
  nb::class_<FirstNonFinite>(module, "FirstNonFinite", "Where a model stops being finite.")
      .def_ro("tensor", &FirstNonFinite::tensor)
      .def_ro("node", &FirstNonFinite::node)
      .def_ro("op_type", &FirstNonFinite::op_type)
      .def_ro("sample", &FirstNonFinite::sample);
  nb::class_<ModelErrors>(module, "ModelErrors", "How one model differs from the original in FP32.")
      .def_ro("right", &ModelErrors::right)
      .def_ro("outputs", &ModelErrors::outputs)
      .def_prop_ro("rel_l2", &ModelErrors::WorstRelL2, "The worst of the outputs.")
      .def_ro("first_inf", &ModelErrors::first_inf)
      .def_ro("first_nan", &ModelErrors::first_nan)
      .def_ro("failure", &ModelErrors::failure, "Why the model could not be run; empty when it could.");
  nb::class_<CpuResult>(module, "CpuResult", "What became of a model in ONNX Runtime's CPU provider.")
      .def_ro("runs", &CpuResult::runs, "It was loaded, and ran on one sample.")
      .def_ro("stage", &CpuResult::stage, "'load' or 'run', where it ended.")
      .def_ro("node", &CpuResult::node, "The node that ONNX Runtime names; else empty.")
      .def_ro("message", &CpuResult::message, "ONNX Runtime's words, or how its process ended.")
      .def_ro("runs_at_basic", &CpuResult::runs_at_basic, "It runs at the optimization level 'basic'.");
  nb::class_<CheckReport>(module, "CheckResult", "What a check found.")
      .def_prop_ro(
          "right", [](const CheckReport& check) { return check.result.Right(); },
          "The fixed model agrees with FP32 on every sample.")
      .def_prop_ro("samples", [](const CheckReport& check) { return check.result.samples; })
      .def_prop_ro(
          "fixed", [](const CheckReport& check) { return check.result.fixed; }, "The model that was checked.")
      .def_prop_ro(
          "plain", [](const CheckReport& check) { return check.result.plain; },
          "Plain FP16, for comparison, where it was run.")
      .def_prop_ro(
          "on_cpu", [](const CheckReport& check) { return check.result.on_cpu; },
          "What ONNX Runtime's CPU provider made of it at its default options, where that was tried.")
      .def_prop_ro(
          "outputs", [](const CheckReport& check) { return check.result.fixed.outputs; },
          "The outputs of the model that was checked.")
      .def(
          "report", [](const CheckReport& check, int width) { return ToText(check.report, width, false); },
          "width"_a = 100, "What `halfsafe check` prints.")
      .def(
          "to_json", [](const CheckReport& check) { return ToJson(check.report); },
          "What `halfsafe check --json` writes.")
      .def("__repr__", [](const CheckReport& check) {
        return fmt::format("<CheckResult: {}, rel_l2 {:.3g}>", check.result.Right() ? "right" : "not right",
                           check.result.fixed.WorstRelL2());
      });

  nb::class_<CheckOptions>(module, "CheckOptions")
      .def("__init__", &MakeCheckOptions, "rel_l2"_a, "rtol"_a.none(), "atol"_a.none(), "max_flips"_a,
           "threads"_a, "low_memory"_a, "plain"_a, "provider"_a, "allow_nan"_a);
  module.def("check", &CheckAll, "model"_a, "fixed"_a, "samples"_a, "options"_a, "progress"_a.none());
}

}  // namespace halfsafe::python
