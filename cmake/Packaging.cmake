# What `cpack -G DEB` and `cpack -G TGZ` make of an installation; scripts/package runs both as they are meant to be run.
set(HALFSAFE_MAINTAINER "halfsafe maintainers <maintainers@halfsafe.invalid>" CACHE STRING
    "Who answers for the packages that are built: name and address")
mark_as_advanced(HALFSAFE_MAINTAINER)

set(CPACK_PACKAGE_NAME halfsafe)
set(CPACK_PACKAGE_VENDOR halfsafe)
set(CPACK_VERBATIM_VARIABLES YES)
set(CPACK_INSTALL_CMAKE_PROJECTS ${CMAKE_BINARY_DIR} halfsafe halfsafe /)
set(CPACK_PACKAGE_DIRECTORY ${CMAKE_BINARY_DIR}/packages)
set(CPACK_GENERATOR DEB TGZ)
set(CPACK_STRIP_FILES YES)

string(TOLOWER ${CMAKE_SYSTEM_NAME}-${CMAKE_SYSTEM_PROCESSOR} system)
set(CPACK_ARCHIVE_FILE_NAME halfsafe-${PROJECT_VERSION}-${system})
set(CPACK_PACKAGE_FILE_NAME ${CPACK_ARCHIVE_FILE_NAME})

set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_MAINTAINER ${HALFSAFE_MAINTAINER})
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_PACKAGE_DESCRIPTION
    "makes ONNX models safe in half precision
halfsafe takes an ONNX model and real input samples and writes a
mixed-precision model that is right in FP16 on those samples. It finds what
FP16 cannot hold, stores it times a power of two or keeps it in FP32, and
checks the result by emulating FP16.
.
The package holds the program, and a C++ library with headers and CMake
files.")
# Debian's libraries are dependencies; ONNX Runtime is inside.
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS YES)
cmake_path(GET OnnxRuntime_LIBRARY PARENT_PATH CPACK_DEBIAN_PACKAGE_SHLIBDEPS_PRIVATE_DIRS)
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS YES)
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS_POLICY >=)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION YES)
if(MPI_CXX_FOUND AND boost_mpi_FOUND)
  set(CPACK_DEBIAN_PACKAGE_SUGGESTS openmpi-bin)  # mpirun
endif()

configure_file(cmake/FinishPackage.cmake.in ${CMAKE_BINARY_DIR}/generated/cmake/FinishPackage.cmake @ONLY)
set(CPACK_PRE_BUILD_SCRIPTS ${CMAKE_BINARY_DIR}/generated/cmake/FinishPackage.cmake)
include(CPack)
