# What the frontend tells the helper for the audit trail.
set(helper ${CMAKE_SOURCE_DIR}/privhelper)
warden_fuzz_target(audit-record ${CMAKE_CURRENT_LIST_DIR}/audit-record.c++
  ${helper}/audit-log.c++ ${helper}/client-facts.c++ ${helper}/everyday-calls.c++ ${helper}/helper-filters.c++ ${helper}/observer.c++ ${helper}/peer.c++
  LIBS warden_audit warden_base warden_config warden_sandbox warden_schema_helper nlohmann_json::nlohmann_json)
