#include <fmt/format.h>

#include <chrono>

#include "base/file.h"
#include "bindings.h"
#include "report/html.h"
#include "work.h"

namespace halfsafe::python {
namespace {

using nb::literals::operator""_a;

/// Writes the page of `halfsafe fix --report`.
void SaveReport(const FixReport& fix, const std::filesystem::path& path) {
  Run(nb::none(), [&](Progress*) {
    const Report& report = fix.check.report;
    WriteFileAtomically(path, ToHtml(report, {*fix.original.model, &fix.ranges, report.threshold, &fix.plan,
                                              fix.fixed.model.get()}));
    return true;
  });
}

FixReport FixAll(const LoadedModel& given, const Samples& samples, const ScanOptions& scan,
                 const PlanOptions& plan, const CheckOptions& check, std::optional<double> budget,
                 double holdout, bool runs_on_cpu, const nb::object& progress) {
  Require(!budget || *budget >= 0.0,
          fmt::format("budget is {}, expected zero or more", budget.value_or(0.0)));
  Require(holdout >= 0.0 && holdout <= 0.99, fmt::format("holdout is {}, expected 0 to 0.99", holdout));
  return Run(progress, [&](Progress* listener) {
    const auto start = std::chrono::steady_clock::now();
    const LoadedModel model = AsInput(given);
    FixOptions options{scan, plan, check, budget, holdout, runs_on_cpu};
    options.scan.custom_op_libraries = options.check.custom_op_libraries = model.custom_ops;
    options.check.reference = model.original.get();
    options.check.per_sample = options.check.fixed_ranges = true;  // What a page shows.
    FixResult fix = Fix(*model.model, *samples.source, options, listener);
    Report report = StartReport("fix", model);
    AddFix(*model.model, fix, options, "", &report);
    report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    FixReport result{
        model,
        {std::make_shared<const Model>(std::move(fix.fixed)), nullptr, model.custom_ops, true, true},
        std::move(fix.plan),
        std::move(fix.ranges),
        {std::move(fix.check), report},
        std::nullopt,
        fix.right,
        fix.only_fp32};
    if (fix.holdout) result.holdout = CheckReport{*std::move(fix.holdout), std::move(report)};
    return result;
  });
}

}  // namespace

void BindFix(nb::module_& module) {
  nb::class_<Widening>(module, "Widening", "Nodes that went to FP32 because their rounding hurt most.")
      .def_ro("nodes", &Widening::nodes)
      .def_ro("predicted_rel_l2", &Widening::predicted_rel_l2, "The error that should remain.");
  nb::class_<FixReport>(module, "FixResult", "A model that was made right, and how.")
      .def_ro("right", &FixReport::right, "The fixed model agrees with FP32 on every sample.")
      .def_ro("only_fp32", &FixReport::only_fp32, "Nothing is left in FP16.")
      .def_ro("model", &FixReport::fixed, "The fixed model.")
      .def_ro("plan", &FixReport::plan)
      .def_ro("ranges", &FixReport::ranges)
      .def_ro("check", &FixReport::check)
      .def_ro("holdout", &FixReport::holdout,
              "The check on samples that were kept out of calibration, if any.")
      .def_prop_ro(
          "widenings", [](const FixReport& fix) { return fix.check.report.widenings; },
          "Steps after the first check, in order.")
      .def_prop_ro(
          "narrowed", [](const FixReport& fix) { return fix.check.report.narrowing.nodes; },
          "Nodes that widening had taken and that are FP16 again.")
      .def_prop_ro(
          "verdict", [](const FixReport& fix) { return fix.check.report.verdict; },
          "'right', 'little-gained' (right, and not worth much) or 'not-right'.")
      .def(
          "report", [](const FixReport& fix, int width) { return ToText(fix.check.report, width, false); },
          "width"_a = 100, "What `halfsafe fix` prints.")
      .def(
          "to_json", [](const FixReport& fix) { return ToJson(fix.check.report); },
          "What `halfsafe fix --json` writes.")
      .def("save_report", &SaveReport, "path"_a, "Writes the page of `halfsafe fix --report`.")
      .def("__repr__",
           [](const FixReport& fix) { return fmt::format("<FixResult: {}>", fix.check.report.verdict); });
  module.def("fix", &FixAll, "model"_a, "samples"_a, "scan"_a, "plan"_a, "check"_a, "budget"_a.none(),
             "holdout"_a, "runs_on_cpu"_a, "progress"_a.none());
}

}  // namespace halfsafe::python
