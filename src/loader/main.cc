// halfsafe-load: loads a model with ONNX Runtime's CPU provider and runs it once. A program of its own,
// because a model can end the process that loads it; halfsafe starts it (src/verify/load_check.h), and nobody
// else.
//
//   halfsafe-load MODEL INPUTS LEVEL [LIBRARY...]
//
// INPUTS   file of records: a line with a name, a line with the element type's number in ONNX, the rank and
// the
//          dimensions, then the elements; empty: the model is only loaded
// LEVEL    all or basic: how far ONNX Runtime may change the graph
// LIBRARY  custom operators
//
// Exits with 0 when it ran; with 3 and, on standard output, a line "load" or "run" and ONNX Runtime's words.

#include <onnxruntime_cxx_api.h>
#include <sys/resource.h>

#include <cstdio>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

namespace {

constexpr int kRefused = 3;
constexpr int kNoUse = 2;

/// Tensors as a run takes them.
struct Inputs {
  std::vector<std::string> names;
  std::vector<std::vector<char>> data;
  std::vector<Ort::Value> values;
};

size_t BytesOf(ONNXTensorElementDataType type) {
  switch (type) {
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE:
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64:
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT64:
      return 8;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT:
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32:
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT32:
      return 4;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16:
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16:
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT16:
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT16:
      return 2;
    default:
      return 1;
  }
}

Inputs Read(const char* path) {
  const auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
  std::ifstream file(path, std::ios::binary);
  Inputs inputs;
  std::string name, line;
  while (std::getline(file, name) && std::getline(file, line)) {
    std::istringstream header(line);
    int type = 0;
    size_t rank = 0;
    header >> type >> rank;
    std::vector<int64_t> shape(rank);
    size_t count = 1;
    for (int64_t& dim : shape) {
      header >> dim;
      count *= static_cast<size_t>(dim);
    }
    const auto element = static_cast<ONNXTensorElementDataType>(type);
    std::vector<char>& data = inputs.data.emplace_back(count * BytesOf(element) + 1);
    file.read(data.data(), static_cast<std::streamsize>(data.size() - 1));
    inputs.names.push_back(name);
    inputs.values.push_back(
        Ort::Value::CreateTensor(memory, data.data(), data.size() - 1, shape.data(), rank, element));
  }
  return inputs;
}

void Run(Ort::Session* session, const char* path) {
  const Inputs inputs = Read(path);
  std::vector<const char*> inputs_by_name, outputs_by_name;
  for (const std::string& name : inputs.names) inputs_by_name.push_back(name.c_str());
  std::vector<std::string> outputs;
  for (size_t i = 0; i < session->GetOutputCount(); ++i)
    outputs.emplace_back(session->GetOutputNameAllocated(i, Ort::AllocatorWithDefaultOptions()).get());
  for (const std::string& name : outputs) outputs_by_name.push_back(name.c_str());
  session->Run(Ort::RunOptions(), inputs_by_name.data(), inputs.values.data(), inputs.values.size(),
               outputs_by_name.data(), outputs_by_name.size());
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) {
    std::fputs("usage: halfsafe-load MODEL INPUTS LEVEL [LIBRARY...]\n", stderr);
    return kNoUse;
  }
  const rlimit none{0, 0};
  setrlimit(RLIMIT_CORE, &none);  // That it may crash is why it is here.
  const char* stage = "load";
  try {
    const Ort::Env environment(ORT_LOGGING_LEVEL_FATAL, "halfsafe-load");
    Ort::SessionOptions options;
    if (std::string(argv[3]) == "basic") options.SetGraphOptimizationLevel(ORT_ENABLE_BASIC);
    for (int i = 4; i < argc; ++i) options.RegisterCustomOpsLibrary(argv[i]);
    Ort::Session session(environment, argv[1], options);
    stage = "run";
    if (argv[2][0] != '\0') Run(&session, argv[2]);
  } catch (const std::exception& error) {
    std::printf("%s\n%s\n", stage, error.what());
    return kRefused;
  }
  return 0;
}
