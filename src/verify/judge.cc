#include "verify/judge.h"

#include <algorithm>
#include <numeric>

#include "halfsafe/error.h"
#include "runtime/written_out.h"

namespace halfsafe {

Judge::Judge(const Model& original, const SampleSource& samples, const CheckOptions& options,
             uint64_t hardest)
    : original_(ReferenceOf(original, options)),
      samples_(samples),
      options_(options),
      part_(
          RunnableForm(ReferenceOf(original, options), !options.custom_op_libraries.empty(), Types::kItsOwn)),
      same_shapes_(SameShapes(samples)),
      reference_(part_ ? *part_ : ReferenceOf(original, options), options, same_shapes_),
      order_(samples.size()) {
  std::iota(order_.begin(), order_.end(), uint64_t{0});
  Prefer(hardest);
}

bool Judge::Right(const Model& fixed) {
  std::vector<uint64_t> open = order_;
  Progress silent;
  if (AllRight(fixed, &open, &silent)) return true;
  Prefer(open.front());
  return false;
}

bool Judge::AllRight(const Model& fixed, std::vector<uint64_t>* open, Progress* progress) {
  const std::optional<Model> part =
      RunnableForm(fixed, !options_.custom_op_libraries.empty(), Types::kEmulated);
  reference_.RoundAs(original_, fixed);
  Candidate candidate(part ? *part : fixed, options_, same_shapes_, false, nullptr);
  progress->Begin("recheck", open->size());
  auto next = open->begin();
  for (; next != open->end(); ++next) {
    ThrowIfInterrupted();
    if (!RightOn(*next, &candidate)) break;
    progress->Step();
  }
  progress->End();
  open->erase(open->begin(), next);
  return open->empty();
}

bool Judge::RightOn(uint64_t index, Candidate* candidate) {
  const Sample sample = samples_.Read(index);
  const std::optional<RunOutputs> outputs = candidate->Run(sample);
  if (!outputs) return false;
  const Judging judging{reference_.names(), reference_.rules(), options_};
  return candidate->Compare(judging, reference_.Run(index, sample), *outputs, sample, true);
}

void Judge::Prefer(uint64_t index) {
  const auto found = std::find(order_.begin(), order_.end(), index);
  if (found != order_.end()) std::rotate(order_.begin(), found, found + 1);
}

}  // namespace halfsafe
