# Tests of client/: against a real unix socket, and the command as the operator starts it.
warden_unit_test(client-frame-test client-frame-test.c++ LIBS warden_client)
warden_unit_test(client-client-test client-client-test.c++ LIBS warden_client)
warden_unit_test(client-output-test client-output-test.c++ client-progress-test.c++ LIBS warden_command)
warden_unit_test(client-command-test client-command-test.c++ client-command-resources-test.c++
  client-command-status-test.c++ LIBS warden_client nlohmann_json::nlohmann_json)
target_compile_definitions(client-command-test PRIVATE WARDEN_COMMAND="$<TARGET_FILE:warden>")
add_dependencies(client-command-test warden)
