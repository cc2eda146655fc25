#pragma once

#include <google/protobuf/message.h>

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace halfsafe::fuzz {

/// The kind of message that a target's bytes are; nullptr for other bytes. A message is changed field by
/// field, because a changed byte would break the lengths around it, and nothing behind the parser would be
/// reached.
const google::protobuf::Message* MessageOf(std::string_view target);

/// The message with one or a few fields changed; empty where `bytes` are none, or no longer fit.
std::string MutateMessage(const google::protobuf::Message& prototype, std::span<const uint8_t> bytes,
                          size_t max_size, unsigned seed);

/// The first message with a part of the second; empty where that doesn't work.
std::string CrossMessages(const google::protobuf::Message& prototype, std::span<const uint8_t> first,
                          std::span<const uint8_t> second, size_t max_size, unsigned seed);

}  // namespace halfsafe::fuzz
