add_test(NAME unit-rooms-test
  COMMAND ${CMAKE_SOURCE_DIR}/tests/unit/rooms-test.sh ${CMAKE_SOURCE_DIR})
set_tests_properties(unit-rooms-test PROPERTIES LABELS unit TIMEOUT 60)
