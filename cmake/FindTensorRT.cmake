# Finds TensorRT and CUDA's runtime, and defines TensorRT::TensorRT.
#
# Looks where system packages put them, and in TENSORRT_ROOT and CUDAToolkit_ROOT (lists of folders; variables of CMake
# or of the environment), each with include/ and lib/ or lib64/ below it or as they are.
set(_trt_roots ${TENSORRT_ROOT} $ENV{TENSORRT_ROOT} ${CUDAToolkit_ROOT} $ENV{CUDAToolkit_ROOT} /usr/local/cuda)
string(REPLACE ":" ";" _trt_roots "${_trt_roots}")
set(_trt_suffixes include lib lib64 lib/x86_64-linux-gnu)

find_path(TensorRT_INCLUDE_DIR NvInfer.h HINTS ${_trt_roots} PATH_SUFFIXES ${_trt_suffixes})
find_path(TensorRT_PARSER_INCLUDE_DIR NvOnnxParser.h HINTS ${_trt_roots} PATH_SUFFIXES ${_trt_suffixes})
find_path(TensorRT_CUDA_INCLUDE_DIR cuda_runtime_api.h HINTS ${_trt_roots} PATH_SUFFIXES ${_trt_suffixes})
# crt/ lies elsewhere in the packages of pip.
find_path(TensorRT_CRT_INCLUDE_DIR crt/host_defines.h HINTS ${_trt_roots} PATH_SUFFIXES ${_trt_suffixes})

set(TensorRT_VERSION "")
if(TensorRT_INCLUDE_DIR)
  file(READ ${TensorRT_INCLUDE_DIR}/NvInferVersion.h _trt_header)
  foreach(_part MAJOR MINOR PATCH)
    # From 10 on the numbers stand behind names of their own.
    foreach(_name TRT_${_part}_ENTERPRISE NV_TENSORRT_${_part})
      if(NOT DEFINED _trt_${_part} AND _trt_header MATCHES "#define ${_name} +([0-9]+)")
        set(_trt_${_part} ${CMAKE_MATCH_1})
      endif()
    endforeach()
  endforeach()
  set(TensorRT_VERSION ${_trt_MAJOR}.${_trt_MINOR}.${_trt_PATCH})
endif()

set(_trt_libraries)
foreach(_library nvinfer nvonnxparser nvinfer_plugin cudart)
  # Packages without development files carry the major version in the name alone.
  find_library(
    TensorRT_${_library}_LIBRARY
    NAMES ${_library} lib${_library}.so.${_trt_MAJOR} lib${_library}.so.12 lib${_library}.so.13
    HINTS ${_trt_roots}
    PATH_SUFFIXES ${_trt_suffixes})
  list(APPEND _trt_libraries ${TensorRT_${_library}_LIBRARY})
endforeach()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(
  TensorRT
  REQUIRED_VARS
    TensorRT_INCLUDE_DIR
    TensorRT_PARSER_INCLUDE_DIR
    TensorRT_CUDA_INCLUDE_DIR
    TensorRT_CRT_INCLUDE_DIR
    TensorRT_nvinfer_LIBRARY
    TensorRT_nvonnxparser_LIBRARY
    TensorRT_nvinfer_plugin_LIBRARY
    TensorRT_cudart_LIBRARY
  VERSION_VAR TensorRT_VERSION)

if(TensorRT_FOUND AND NOT TARGET TensorRT::TensorRT)
  add_library(TensorRT::TensorRT INTERFACE IMPORTED)
  # SYSTEM: their headers are not ours to clean of warnings.
  target_include_directories(
    TensorRT::TensorRT SYSTEM
    INTERFACE ${TensorRT_INCLUDE_DIR} ${TensorRT_PARSER_INCLUDE_DIR} ${TensorRT_CUDA_INCLUDE_DIR}
              ${TensorRT_CRT_INCLUDE_DIR})
  target_link_libraries(TensorRT::TensorRT INTERFACE ${_trt_libraries})
  # Parts of TensorRT that nothing here calls name libraries (cuBLAS, cuDNN) that need not be there.
  target_link_options(TensorRT::TensorRT INTERFACE -Wl,--unresolved-symbols=ignore-in-shared-libs)
endif()
