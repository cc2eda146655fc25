#include "bindings.h"

NB_MODULE(_core, module) {
  using namespace halfsafe::python;
  nanobind::set_leak_warnings(false);  // What a program holds when it ends is no leak of ours.
  module.doc() = "The stages of halfsafe. The package halfsafe, beside it, is how they are called.";
  module.attr("__version__") = HALFSAFE_VERSION;
  BindErrors(module);
  BindModel(module);
  BindSamples(module);
  BindRanges(module);
  BindPlan(module);
  BindCheck(module);
  BindFix(module);
}
