#include "bindings.h"

namespace halfsafe::python {
namespace {

/// The exception of halfsafe._errors that stands for an exit code.
const char* ClassOf(ExitCode code) {
  switch (code) {
    case ExitCode::kUsage:
      return "UsageError";
    case ExitCode::kBadInput:
      return "InputError";
    case ExitCode::kUnavailable:
      return "UnavailableError";
    default:
      return "InternalError";
  }
}

void Translate(const std::exception_ptr& thrown, void*) {
  try {
    std::rethrow_exception(thrown);
  } catch (const Error& error) {
    if (error.code() == ExitCode::kInterrupted) {
      PyErr_SetNone(PyExc_KeyboardInterrupt);
      return;
    }
    const nb::object type = nb::module_::import_("halfsafe._errors").attr(ClassOf(error.code()));
    PyErr_SetString(type.ptr(), error.what());
  }
}

}  // namespace

void BindErrors(nb::module_&) { nb::register_exception_translator(&Translate); }

void Require(bool good, const std::string& message) {
  if (!good) throw BadUsage(message);
}

Provider ProviderFrom(const std::string& name) {
  Require(name == "cpu" || name == "cuda", "provider is '" + name + "', expected 'cpu' or 'cuda'");
  return name == "cuda" ? Provider::kCuda : Provider::kCpu;
}

}  // namespace halfsafe::python
