#include <fmt/format.h>
#include <onnx/onnx_pb.h>

#include "base/file.h"
#include "bindings.h"
#include "report/inspect.h"
#include "work.h"

namespace halfsafe::python {
namespace {

using nb::literals::operator""_a;

/// What stands for the path of a model that has none.
constexpr char kNoPath[] = "in-memory model";

std::span<const std::byte> BytesOf(const nb::bytes& bytes) {
  return {static_cast<const std::byte*>(bytes.data()), bytes.size()};
}

/// Completes the types of a model that was just read and raises it where it has to be.
LoadedModel Finish(Model read, std::optional<int> opset, std::vector<std::filesystem::path> custom_ops,
                   bool in_memory) {
  LoadedModel result{nullptr, nullptr, std::move(custom_ops), in_memory, false};
  std::optional<Model> raised;
  if (opset) {
    raised.emplace(read, read.proto());
    raised->RaiseOpset(*opset);
    CompleteTypes(&*raised, result.custom_ops);
  }
  read.RaiseToRun();
  CompleteTypes(&read, result.custom_ops);
  result.model = std::make_shared<const Model>(std::move(read));
  if (raised) {
    result.original = std::move(result.model);
    result.model = std::make_shared<const Model>(*std::move(raised));
  }
  return result;
}

LoadedModel LoadFile(const std::filesystem::path& path, std::optional<int> opset, bool lift_clamps,
                     std::vector<std::filesystem::path> custom_ops) {
  return Run(nb::none(), [&](Progress*) {
    Model model = Model::Load(path);
    if (lift_clamps) model.LiftClamps();
    return Finish(std::move(model), opset, std::move(custom_ops), false);
  });
}

LoadedModel LoadBytes(const nb::bytes& bytes, const std::optional<std::filesystem::path>& folder,
                      std::optional<int> opset, bool lift_clamps,
                      std::vector<std::filesystem::path> custom_ops) {
  const auto content = BytesOf(bytes);
  const std::filesystem::path path = folder ? *folder / kNoPath : std::filesystem::path(kNoPath);
  return Run(nb::none(), [&](Progress*) {
    Model model = Model::Parse(content, path);
    if (lift_clamps) model.LiftClamps();
    return Finish(std::move(model), opset, std::move(custom_ops), true);
  });
}

nb::bytes BytesOf(const LoadedModel& model) {
  const std::string bytes = Run(nb::none(), [&](Progress*) { return model.model->ToBytes(); });
  return nb::bytes(bytes.data(), bytes.size());
}

std::string Sha256Of(const LoadedModel& model) {
  if (!model.applied) return model.model->sha256();
  const std::string bytes = model.model->ToBytes();
  return Sha256Hex(std::as_bytes(std::span(bytes)));
}

std::string Text(const InputSpec& input) {
  std::string shape;
  for (const int64_t size : input.shape)
    shape += fmt::format("{}{}", shape.empty() ? "" : ", ", size < 0 ? "None" : fmt::format("{}", size));
  return fmt::format("Input(name='{}', dtype='{}', shape={})", input.name, DTypeName(input.dtype),
                     input.any_rank ? "None" : fmt::format("[{}]", shape));
}

nb::object ShapeOf(const InputSpec& input) {
  if (input.any_rank) return nb::none();
  nb::list shape;
  for (const int64_t size : input.shape) shape.append(size < 0 ? nb::none() : nb::cast(size));
  return shape;
}

}  // namespace

LoadedModel AsInput(const LoadedModel& model) {
  if (!model.applied) return model;
  const std::string bytes = model.model->ToBytes();
  const std::filesystem::path path = model.model->path().parent_path() / kNoPath;
  return Finish(Model::Parse(std::as_bytes(std::span(bytes)), path), std::nullopt, model.custom_ops, true);
}

LoadedModel ModelFor(const LoadedModel& given, const std::string& sha256, std::optional<int> opset) {
  LoadedModel model = AsInput(given);
  if (model.model->raised_opset() == opset) return model;
  if (model.original) model = {std::move(model.original), nullptr, model.custom_ops, model.in_memory, false};
  // Another model is for the stage to refuse.
  if (!opset || model.model->sha256() != sha256) return model;
  Model raised(*model.model, model.model->proto());
  raised.RaiseOpset(*opset);
  CompleteTypes(&raised, model.custom_ops);
  model.original = std::move(model.model);
  model.model = std::make_shared<const Model>(std::move(raised));
  return model;
}

Report StartReport(const char* command, const LoadedModel& model) {
  Report report;
  report.command = command;
  report.model_path = model.in_memory ? kNoPath : model.model->path().string();
  report.model_sha256 = model.model->sha256();
  report.model_bytes = model.model->bytes();
  report.opset = model.model->raised_opset();
  return report;
}

void BindModel(nb::module_& module) {
  nb::class_<InputSpec>(module, "Input", "What a model expects of one input.")
      .def_ro("name", &InputSpec::name)
      .def_prop_ro("dtype", [](const InputSpec& input) { return DTypeName(input.dtype); })
      .def_prop_ro("shape", &ShapeOf,
                   "Sizes, None where any goes; None in all where the model states no shape.")
      .def("__repr__", &Text);

  nb::class_<LoadedModel>(module, "Model", "An ONNX model. Made by halfsafe.load and halfsafe.apply.")
      .def_prop_ro(
          "path",
          [](const LoadedModel& model) {
            return model.in_memory ? std::optional<std::filesystem::path>() : model.model->path();
          },
          "The file that was loaded; None for a model that lies in memory alone.")
      .def_prop_ro("sha256", &Sha256Of, "What ranges and plans know their model by.")
      .def_prop_ro(
          "nbytes", [](const LoadedModel& model) { return model.model->bytes(); },
          "Bytes that files of it take, external data included.")
      .def_prop_ro(
          "opset", [](const LoadedModel& model) { return model.model->raised_opset(); },
          "What the model was raised to when it was loaded; None where it stayed as it was.")
      .def_prop_ro(
          "inputs", [](const LoadedModel& model) { return model.model->Inputs(); },
          "What a sample has to give.")
      .def(
          "save",
          [](const LoadedModel& model, const std::filesystem::path& path) {
            Run(nb::none(), [&](Progress*) { return model.model->Save(path), true; });
          },
          "path"_a,
          "Writes the model. Past 1 GiB its weights go to a file beside it, PATH.data. Files appear when "
          "they "
          "are whole.")
      .def("to_bytes", static_cast<nb::bytes (*)(const LoadedModel&)>(&BytesOf),
           "The model as one ONNX file's bytes, all weights inside: up to 2 GiB.")
      .def(
          "to_onnx",
          [](const LoadedModel& model) {
            return nb::module_::import_("onnx").attr("load_model_from_string")(BytesOf(model));
          },
          "The model as an onnx.ModelProto. Needs the package onnx.")
      .def("__repr__", [](const LoadedModel& model) {
        return fmt::format("<halfsafe.Model {}, {} bytes>",
                           model.in_memory ? kNoPath : model.model->path().string(), model.model->bytes());
      });

  nb::class_<Inspection>(module, "Inspection", "What can be said of a model without running it.")
      .def_ro("opsets", &Inspection::opsets)
      .def_ro("operators", &Inspection::operators)
      .def_ro("inputs", &Inspection::inputs)
      .def_ro("outputs", &Inspection::outputs)
      .def_ro("weights", &Inspection::weights, "Floating-point values in constants.")
      .def_ro("subnormal", &Inspection::subnormal, "Those that FP16 makes subnormal or zero.")
      .def_ro("vanishing", &Inspection::vanishing, "Those that FP16 makes zero.")
      .def_ro("overflowing_weights", &Inspection::overflowing_weights, "Constants past 65504.")
      .def(
          "report", [](const Inspection& inspection, int width) { return ToText(inspection, width, false); },
          "width"_a = 100, "What `halfsafe inspect` prints.")
      .def("to_json", [](const Inspection& inspection) { return ToJson(inspection); });

  module.def("load_file", &LoadFile, "path"_a, "opset"_a.none(), "lift_clamps"_a, "custom_ops"_a);
  module.def("load_bytes", &LoadBytes, "content"_a, "folder"_a.none(), "opset"_a.none(), "lift_clamps"_a,
             "custom_ops"_a);
  module.def(
      "inspect",
      [](const LoadedModel& model) {
        return Run(nb::none(), [&](Progress*) { return Inspect(*AsInput(model).model); });
      },
      "model"_a);
}

}  // namespace halfsafe::python
