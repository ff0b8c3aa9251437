# What the frontend sends to process 1 of a container: decoding and validation.
warden_fuzz_target(wshd-request ${CMAKE_CURRENT_LIST_DIR}/wshd-request.c++
  LIBS warden_wshd_request)
