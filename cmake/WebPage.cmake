# Builds the page of --report from src/report/web/ into a C++ source, ${web_page_source}, and the licences of the packages in
# it, ${web_licences}. npm fetches the packages once, into the build folder; later builds need no network.
find_program(NODE_EXECUTABLE node)
find_program(NPM_EXECUTABLE npm)
if(NOT NODE_EXECUTABLE OR NOT NPM_EXECUTABLE)
  message(FATAL_ERROR "HALFSAFE_HTML: node and npm are needed to build the page of --report: run scripts/setup, or "
                      "configure with -DHALFSAFE_HTML=OFF for a build without --report")
endif()

set(web_folder ${CMAKE_SOURCE_DIR}/src/report/web)
set(web_build ${CMAKE_BINARY_DIR}/web)
set(web_page_source ${web_build}/web_page.cc)
set(web_licences ${web_build}/web-licences.txt)
file(GLOB web_sources CONFIGURE_DEPENDS ${web_folder}/*.js ${web_folder}/*.css ${web_folder}/*.html ${web_folder}/*.mjs)

add_custom_command(
  OUTPUT ${web_build}/modules.done
  COMMAND ${CMAKE_COMMAND} -E copy ${web_folder}/package.json ${web_folder}/package-lock.json ${web_build}
  COMMAND ${NPM_EXECUTABLE} ci --ignore-scripts --no-audit --no-fund --loglevel=error
  COMMAND ${CMAKE_COMMAND} -E touch ${web_build}/modules.done
  DEPENDS ${web_folder}/package.json ${web_folder}/package-lock.json
  WORKING_DIRECTORY ${web_build}
  COMMENT "Fetching the packages of the report's page"
  VERBATIM)
add_custom_command(
  OUTPUT ${web_page_source} ${web_licences}
  COMMAND ${NODE_EXECUTABLE} ${web_folder}/build.mjs ${web_build}/node_modules ${web_build}/page.html ${web_page_source}
          ${web_licences}
  DEPENDS ${web_build}/modules.done ${web_sources}
  COMMENT "Building the report's page"
  VERBATIM)
file(MAKE_DIRECTORY ${web_build})
