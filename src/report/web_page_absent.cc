#include "halfsafe/error.h"
#include "report/web_page.h"

namespace halfsafe {

std::string_view WebPage() {
  throw Error(ExitCode::kUnavailable,
              "this halfsafe was built without --report: install Node.js and npm, and configure with "
              "-DHALFSAFE_HTML=ON");
}

}  // namespace halfsafe
