# Man pages and shell completions, written by the program itself, which has --help from the same source:
#   generated/man/*.1
#   generated/completions/halfsafe.bash, _halfsafe (zsh), halfsafe.fish
# HALFSAFE_MAN_PAGES and HALFSAFE_COMPLETIONS list the files.
set(HALFSAFE_MAN_PAGES)
set(HALFSAFE_COMPLETIONS)
if(CMAKE_CROSSCOMPILING)
  return()  # The program runs elsewhere.
endif()

# One page a command. The table of commands has the names; a test holds the pages against --help.
file(STRINGS ${CMAKE_SOURCE_DIR}/src/cli/commands.cc _lines REGEX "^      \\{\"[a-z]+\",$")
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/cli/commands.cc)
set(_commands "")
foreach(_line ${_lines})
  string(REGEX REPLACE "[^a-z]" "" _command ${_line})
  list(APPEND _commands ${_command})
endforeach()

# Written beside and renamed: a program that fails leaves no file that looks made.
function(_halfsafe_writes file)
  add_custom_command(
    OUTPUT ${file}
    COMMAND $<TARGET_FILE:halfsafe_cli> ${ARGN} > ${file}.new
    COMMAND ${CMAKE_COMMAND} -E rename ${file}.new ${file}
    DEPENDS halfsafe_cli
    VERBATIM)
endfunction()

set(_man ${CMAKE_BINARY_DIR}/generated/man)
set(_completions ${CMAKE_BINARY_DIR}/generated/completions)
file(MAKE_DIRECTORY ${_man} ${_completions})
_halfsafe_writes(${_man}/halfsafe.1 man)
list(APPEND HALFSAFE_MAN_PAGES ${_man}/halfsafe.1)
foreach(_command ${_commands})
  _halfsafe_writes(${_man}/halfsafe-${_command}.1 man ${_command})
  list(APPEND HALFSAFE_MAN_PAGES ${_man}/halfsafe-${_command}.1)
endforeach()
foreach(_pair "halfsafe.bash bash" "_halfsafe zsh" "halfsafe.fish fish")
  separate_arguments(_pair)
  list(GET _pair 0 _file)
  list(GET _pair 1 _shell)
  _halfsafe_writes(${_completions}/${_file} completion ${_shell})
  list(APPEND HALFSAFE_COMPLETIONS ${_completions}/${_file})
endforeach()
add_custom_target(generated_docs ALL DEPENDS ${HALFSAFE_MAN_PAGES} ${HALFSAFE_COMPLETIONS})
