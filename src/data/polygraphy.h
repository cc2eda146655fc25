#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include "base/file.h"
#include "data/json_scanner.h"
#include "halfsafe/sample.h"

namespace halfsafe {

/// An array as Polygraphy encodes it: {"array": base64 of a .npy, "polygraphy_class": "ndarray"}, bare or
/// inside a LazyArray. Also what its older versions wrote: `__polygraphy_encoded_<type>` markers, payloads as
/// latin-1 strings, .npz payloads (the first array counts). `where` begins error messages.
Array ParsePolygraphyArray(const JsonScanner& json, std::string_view value);

/// Appends `array` to `file` in that encoding.
void WritePolygraphyArray(AtomicFile& file, const Array& array);

/// `text` as a JSON string, quotes included. Throws BadInput when it is not UTF-8.
std::string JsonQuoted(const std::string& text);

/// Opens an input file (a list of feed dicts, or one). Scans it once for where each sample lies; after that
/// memory holds one sample at a time. `label` names the file in sample names.
std::unique_ptr<SampleSource> OpenPolygraphyInputs(const std::filesystem::path& path,
                                                   const std::string& label);

/// The same for a file of recorded outputs (RunResults). Of several runners the first counts.
std::unique_ptr<SampleSource> OpenPolygraphyOutputs(const std::filesystem::path& path,
                                                    const std::string& label);

/// Appends all samples of `source` to `file` as an input file.
void WritePolygraphyInputs(AtomicFile& file, const SampleSource& source);

/// Appends one sample's recorded tensors as an IterationResult.
void WriteIterationResult(AtomicFile& file, const std::vector<NamedArray>& outputs,
                          const std::string& runner_name);

}  // namespace halfsafe
