#pragma once

#include "halfsafe/model.h"
#include "halfsafe/plan.h"

namespace halfsafe {

/// Writes the plan into the model: a strongly typed mixed-precision model whose weights are converted once
/// per type that reads them, with Casts only where precisions meet, one per tensor and type. Names of nodes
/// and tensors stay. Throws Error(kBadInput) when the plan is of another model or names what the model
/// doesn't have.
Model Apply(const Model& model, const Plan& plan);

/// The name of the original's tensor behind a name that Apply made for a second type of it ("x.fp16" is of
/// "x"). For names that the original has itself, ask it first: they may hold dots.
std::string OriginalName(const std::string& name);

/// How many Cast nodes a model has, bodies included.
uint64_t CountCasts(const Model& model);

/// The model with every tensor whose name matches the regular expression `pattern` as an output too; inputs,
/// constants and tensors inside bodies are left out. Throws Error(kUsage) when nothing matches.
Model MarkOutputs(const Model& model, const std::string& pattern);

}  // namespace halfsafe
