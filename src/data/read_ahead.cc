#include "data/read_ahead.h"

namespace halfsafe {

ReadAhead::ReadAhead(const SampleSource& source, uint64_t begin) : source_(source), next_(begin) { Start(); }

void ReadAhead::Start() {
  if (next_ >= source_.size()) return;
  reading_ = std::async(std::launch::async, [this, index = next_] { return source_.Read(index); });
}

Sample ReadAhead::Next() {
  std::future<Sample> read = std::move(reading_);
  read.wait();
  ++next_;
  Start();
  return read.get();
}

}  // namespace halfsafe
