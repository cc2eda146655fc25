#include "data/read_ahead.h"

namespace halfsafe {

ReadAhead::ReadAhead(const SampleSource& source, uint64_t begin, size_t depth)
    : source_(source), next_(begin) {
  for (size_t i = 0; i < (source.OnlyInOrder() ? 1 : depth); ++i) Start();
}

void ReadAhead::Start() {
  if (next_ >= source_.size()) return;
  reading_.push_back(std::async(std::launch::async, [this, index = next_] { return source_.Read(index); }));
  ++next_;
}

Sample ReadAhead::Next() {
  std::future<Sample> read = std::move(reading_.front());
  reading_.pop_front();
  read.wait();
  Start();
  return read.get();
}

}  // namespace halfsafe
