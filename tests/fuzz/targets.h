#pragma once

#include <cstddef>
#include <span>
#include <stdexcept>
#include <string_view>

#include "halfsafe/error.h"

/// What reads bytes of strangers, as functions of these bytes. scripts/fuzz calls them with bytes that
/// libFuzzer makes up, the unit tests with those of tests/fuzz/corpus/.
namespace halfsafe::fuzz {

using Bytes = std::span<const std::byte>;

/// A function that gets along with any bytes: it returns, or something is wrong.
struct Target {
  std::string_view name;  ///< Its corpus is the folder of this name.
  void (*run)(Bytes);
};

void ReadModel(Bytes bytes);       ///< .onnx: every stage but those that run it.
void ConvertOpset(Bytes bytes);    ///< .onnx: conversion to newer opsets.
void ReadPolygraphy(Bytes bytes);  ///< .json with inputs, and with outputs.
void ReadNpy(Bytes bytes);         ///< .npy
void ReadNpz(Bytes bytes);         ///< .npz
void ReadTestData(Bytes bytes);    ///< ONNX test data: input_0.pb
void ReadPlan(Bytes bytes);        ///< halfsafe-plan
void ReadRanges(Bytes bytes);      ///< halfsafe-ranges
void ReadLatencies(Bytes bytes);   ///< halfsafe-latencies
void ReadLayers(Bytes bytes);      ///< JSON of TensorRT's engine inspector.
void ShowNames(Bytes bytes);       ///< Any text on a terminal and in a page.

inline constexpr Target kTargets[] = {
    {"model", ReadModel},   {"opset", ConvertOpset}, {"polygraphy", ReadPolygraphy},
    {"npy", ReadNpy},       {"npz", ReadNpz},        {"test_data", ReadTestData},
    {"plan", ReadPlan},     {"ranges", ReadRanges},  {"latencies", ReadLatencies},
    {"layers", ReadLayers}, {"names", ShowNames},
};

/// Targets whose bytes are a serialized message of ONNX, which scripts/fuzz changes field by field.
inline bool TakesModel(std::string_view target) { return target == "model" || target == "opset"; }
inline bool TakesTensor(std::string_view target) { return target == "test_data"; }

/// Runs `run`, which may refuse its input. Whatever else it throws is a fault.
template <typename Run>
void MayRefuse(Run run) {
  try {
    run();
  } catch (const Error& error) {
    if (error.code() != ExitCode::kBadInput) throw;
  }
}

/// Throws where something that has to hold whatever the input is doesn't.
inline void Require(bool holds, const char* what) {
  if (!holds) throw std::logic_error(what);
}

}  // namespace halfsafe::fuzz
