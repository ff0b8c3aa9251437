# What the tests that run a whole server share. Included by each folder that needs it.
include_guard(GLOBAL)

add_library(warden_test_support STATIC
  ${CMAKE_CURRENT_LIST_DIR}/depot.c++
  ${CMAKE_CURRENT_LIST_DIR}/host-files.c++
  ${CMAKE_CURRENT_LIST_DIR}/leak-check.c++
  ${CMAKE_CURRENT_LIST_DIR}/limits.c++
  ${CMAKE_CURRENT_LIST_DIR}/mount-namespace.c++
  ${CMAKE_CURRENT_LIST_DIR}/network-host.c++
  ${CMAKE_CURRENT_LIST_DIR}/network-namespace.c++
  ${CMAKE_CURRENT_LIST_DIR}/network-socket.c++
  ${CMAKE_CURRENT_LIST_DIR}/packet-bytes.c++
  ${CMAKE_CURRENT_LIST_DIR}/process.c++
  ${CMAKE_CURRENT_LIST_DIR}/server-test.c++
  ${CMAKE_CURRENT_LIST_DIR}/test-client.c++
  ${CMAKE_CURRENT_LIST_DIR}/test-image.c++
  ${CMAKE_CURRENT_LIST_DIR}/test-server-facts.c++
  ${CMAKE_CURRENT_LIST_DIR}/test-server.c++
  ${CMAKE_CURRENT_LIST_DIR}/traced-process.c++)
target_link_libraries(warden_test_support PUBLIC warden_schema_client warden_base GTest::gtest
                                                 CapnProto::kj Threads::Threads
                                                 nlohmann_json::nlohmann_json)
target_compile_definitions(warden_test_support PUBLIC
  WARDEN_BIN_DIR="${CMAKE_RUNTIME_OUTPUT_DIRECTORY}" WARDEN_SOURCE_DIR="${CMAKE_SOURCE_DIR}")

# The programs that a server test starts; those of rooms that are not in this tree are left out.
set(WARDEN_SERVER_PROGRAMS)
foreach(program warden-privhelper warden-frontend warden-wshd warden)
  if(TARGET ${program})
    list(APPEND WARDEN_SERVER_PROGRAMS ${program})
  endif()
endforeach()
# This file is included once; the folders that come later find them, too.
set(WARDEN_SERVER_PROGRAMS ${WARDEN_SERVER_PROGRAMS} CACHE INTERNAL "")

# warden_server_test(NAME LABEL TIMEOUT sources... LIBS libraries...): an executable that starts
# servers. One runs at a time, and beside it one of each lane that warden_test_lane names.
function(warden_server_test name label timeout)
  cmake_parse_arguments(PARSE_ARGV 3 ARG "" "" "LIBS")
  add_executable(${name} ${ARG_UNPARSED_ARGUMENTS})
  target_link_libraries(${name} PRIVATE warden_test_support ${ARG_LIBS} GTest::gtest)
  if(WARDEN_SERVER_PROGRAMS)
    add_dependencies(${name} ${WARDEN_SERVER_PROGRAMS})
  endif()
  add_test(NAME ${label}-${name} COMMAND ${name})
  set_tests_properties(${label}-${name} PROPERTIES
    LABELS ${label} TIMEOUT ${timeout} RESOURCE_LOCK warden-server FIXTURES_REQUIRED warden-servers)
endfunction()

# warden_test_lane(LANE NAME COST...): of these one runs at a time, beside those of the other lanes. What
# measures something is in none. The highest COST is first, so that the lanes end together.
function(warden_test_lane lane)
  while(ARGN)
    list(POP_FRONT ARGN name cost)
    set_tests_properties(${name} PROPERTIES RESOURCE_LOCK warden-server-${lane} COST ${cost})
  endwhile()
endfunction()

# Runs before all of the above and when all have run, whatever came of them.
add_executable(leaks-at-end ${CMAKE_CURRENT_LIST_DIR}/leaks-at-end.c++)
target_link_libraries(leaks-at-end PRIVATE warden_test_support)
add_test(NAME leaks-before COMMAND leaks-at-end --before)
set_tests_properties(leaks-before PROPERTIES
  LABELS "integration;escape;stress;chaos" TIMEOUT 120 RESOURCE_LOCK warden-server
  FIXTURES_SETUP warden-servers)
add_test(NAME leaks-at-end COMMAND leaks-at-end)
set_tests_properties(leaks-at-end PROPERTIES
  LABELS "integration;escape;stress;chaos" TIMEOUT 60 RESOURCE_LOCK warden-server
  FIXTURES_CLEANUP warden-servers)
