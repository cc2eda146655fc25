# What `cmake --install` lays out. Everything finds everything else by paths relative to itself, so an installed tree can be
# moved. Programs that use the library see one shared library, and none of what it is made of.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)
set(CMAKE_INSTALL_DEFAULT_COMPONENT_NAME halfsafe)
set(private_folder ${CMAKE_INSTALL_LIBDIR}/halfsafe)  # Libraries that distributions lack, or have too old.

# The messages come from the library that holds nothing else, and stay visible; the rest of ONNX is hidden.
add_library(halfsafe_shared SHARED $<TARGET_OBJECTS:halfsafe>)
target_include_directories(halfsafe_shared INTERFACE $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
target_compile_features(halfsafe_shared INTERFACE cxx_std_20)
target_link_libraries(halfsafe_shared PRIVATE $<BUILD_INTERFACE:ONNX::onnx_proto> $<BUILD_INTERFACE:halfsafe>)
target_link_options(halfsafe_shared PRIVATE LINKER:--exclude-libs,libonnx.a
                    LINKER:--version-script,${CMAKE_SOURCE_DIR}/cmake/halfsafe.map)
set_target_properties(
  halfsafe_shared
  PROPERTIES OUTPUT_NAME halfsafe
             EXPORT_NAME halfsafe
             LINKER_LANGUAGE CXX
             LINK_DEPENDS ${CMAKE_SOURCE_DIR}/cmake/halfsafe.map
             VERSION ${PROJECT_VERSION}
             # Until 1.0 a minor version may change the interface.
             SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR}
             INSTALL_RPATH $ORIGIN/halfsafe)
file(RELATIVE_PATH private_from_bin ${CMAKE_INSTALL_FULL_BINDIR} ${CMAKE_INSTALL_FULL_LIBDIR}/halfsafe)
set_target_properties(halfsafe_cli PROPERTIES INSTALL_RPATH $ORIGIN/${private_from_bin})
# RPATH, not RUNPATH: it also serves what the libraries in the private folder need themselves.
target_link_options(halfsafe_shared PRIVATE LINKER:--disable-new-dtags)
target_link_options(halfsafe_cli PRIVATE LINKER:--disable-new-dtags)

target_link_options(halfsafe_load PRIVATE LINKER:--disable-new-dtags)
set_target_properties(halfsafe_load PROPERTIES INSTALL_RPATH $ORIGIN)
set_source_files_properties(src/verify/load_check.cc PROPERTIES COMPILE_DEFINITIONS
                            HALFSAFE_PRIVATE_FROM_BIN="${private_from_bin}")

install(TARGETS halfsafe_cli)
install(TARGETS halfsafe_load RUNTIME DESTINATION ${private_folder})
install(TARGETS halfsafe_shared EXPORT halfsafeTargets)
install(DIRECTORY include/halfsafe ${CMAKE_BINARY_DIR}/generated/halfsafe DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
        FILES_MATCHING PATTERN *.h)
install(EXPORT halfsafeTargets NAMESPACE halfsafe:: DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/halfsafe)
configure_package_config_file(
  cmake/halfsafeConfig.cmake.in ${CMAKE_BINARY_DIR}/generated/cmake/halfsafeConfig.cmake
  INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/halfsafe
  NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file(${CMAKE_BINARY_DIR}/generated/cmake/halfsafeConfigVersion.cmake
                                 COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/generated/cmake/halfsafeConfig.cmake
              ${CMAKE_BINARY_DIR}/generated/cmake/halfsafeConfigVersion.cmake
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/halfsafe)
get_target_property(onnx_includes ONNX::onnx INTERFACE_INCLUDE_DIRECTORIES)
install(FILES ${onnx_includes}/onnx/onnx_pb.h ${onnx_includes}/onnx/onnx-ml.pb.h DESTINATION ${private_folder}/include/onnx)

# ONNX Runtime of scripts/setup is shipped; one of the system is found there again.
string(FIND ${OnnxRuntime_LIBRARY} ${CMAKE_SOURCE_DIR}/.deps/ at)
if(at EQUAL 0)
  set(shipped_onnxruntime ON)
  file(REAL_PATH ${OnnxRuntime_LIBRARY} library)
  cmake_path(GET library PARENT_PATH folder)
  install(FILES ${library} DESTINATION ${private_folder} RENAME libonnxruntime.so.1)
  if(HALFSAFE_CUDA)
    install(FILES ${folder}/libonnxruntime_providers_shared.so ${folder}/libonnxruntime_providers_cuda.so
            DESTINATION ${private_folder})
  endif()
endif()

# Manual pages and completions are written by the program itself when it is built.
set(generated ${CMAKE_BINARY_DIR}/generated)
install(DIRECTORY ${generated}/man/ DESTINATION ${CMAKE_INSTALL_MANDIR}/man1 OPTIONAL FILES_MATCHING PATTERN *.1)
install(FILES ${generated}/completions/halfsafe.bash DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions
        RENAME halfsafe OPTIONAL)
install(FILES ${generated}/completions/_halfsafe DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/site-functions OPTIONAL)
install(FILES ${generated}/completions/halfsafe.fish DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d OPTIONAL)

set(documents ${CMAKE_INSTALL_DATADIR}/doc/halfsafe)
install(FILES README.md CHANGELOG.md CONTRIBUTING.md SECURITY.md LICENSE DESTINATION ${documents})
install(DIRECTORY docs DESTINATION ${documents})
install(DIRECTORY examples DESTINATION ${documents} PATTERN __pycache__ EXCLUDE)

# Whose code is in the program and the libraries beside it, from the licence files of exactly these.
set(notices ${documents}/THIRD-PARTY-NOTICES.txt)
if(NOT DEFINED web_licences)
  set(web_licences ${CMAKE_BINARY_DIR}/generated/web-licences.txt)
endif()
set(onnx_licence ${onnx_includes}/../LICENSE)
cmake_path(GET OnnxRuntime_INCLUDE_DIR PARENT_PATH onnxruntime_licences)
if(HALFSAFE_CUDA)
  set(onnxruntime_licences ${CMAKE_SOURCE_DIR}/.deps/onnxruntime-cuda)
  file(GLOB cuda_licence ${CMAKE_SOURCE_DIR}/.deps/cuda/nvidia_cuda_runtime*/licenses/License.txt /usr/local/cuda/EULA.txt)
  list(GET cuda_licence 0 cuda_licence)
endif()
set(compiled_in)
foreach(header boost/graph/push_relabel_max_flow.hpp CLI/CLI.hpp fmt/core.h google/protobuf/message.h hwy/highway.h
               nlohmann/json.hpp)
  cmake_path(GET header PARENT_PATH name)
  string(MAKE_C_IDENTIFIER "header_of_${name}" variable)
  find_file(${variable} ${header})
  mark_as_advanced(${variable})
  list(APPEND compiled_in ${${variable}})
endforeach()
list(JOIN compiled_in " " compiled_in)
configure_file(cmake/Notices.cmake.in ${CMAKE_BINARY_DIR}/generated/cmake/Notices.cmake @ONLY)
install(CODE "
  include(\"${CMAKE_BINARY_DIR}/generated/cmake/Notices.cmake\")
  write_notices(\"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/${notices}\" \"\")")
