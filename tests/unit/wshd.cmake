warden_unit_test(wshd-request-test ${CMAKE_CURRENT_LIST_DIR}/wshd-request-test.c++
  LIBS warden_wshd_request)
warden_unit_test(wshd-test
  ${CMAKE_CURRENT_LIST_DIR}/wshd-copy-test.c++ ${CMAKE_CURRENT_LIST_DIR}/wshd-harness.c++
  ${CMAKE_CURRENT_LIST_DIR}/wshd-job-test.c++
  ${CMAKE_CURRENT_LIST_DIR}/wshd-protocol-test.c++
  LIBS warden_base warden_schema_wshd warden_tree)
# The tests run the real program.
add_dependencies(wshd-test warden-wshd)
target_compile_definitions(wshd-test PRIVATE WSHD_PATH="$<TARGET_FILE:warden-wshd>")
set_tests_properties(unit-wshd-test PROPERTIES TIMEOUT 180)
if(WARDEN_SANITIZE)
  # The program is not static then, and cannot run where its libraries are not.
  target_compile_definitions(wshd-test PRIVATE WSHD_IS_DYNAMIC)
endif()
