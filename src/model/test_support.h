#pragma once

#include <onnx/defs/parser.h>

#include <string>

#include "data/test_support.h"
#include "halfsafe/model.h"

namespace halfsafe {

/// A model in ONNX's text form.
inline onnx::ModelProto ParsedProto(const std::string& text) {
  onnx::ModelProto proto;
  const auto status = onnx::OnnxParser::Parse(proto, text.c_str());
  EXPECT_TRUE(status.IsOK()) << status.ErrorMessage();
  return proto;
}

inline Model Loaded(const onnx::ModelProto& proto) {
  const TempFolder folder;
  WriteText(folder / "model.onnx", proto.SerializeAsString());
  return Model::Load(folder / "model.onnx");
}

}  // namespace halfsafe
