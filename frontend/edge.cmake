# The client's side of the frontend: connections, framing, log, sandbox; and the program.
add_library(warden_frontend_edge STATIC
  edge-connection.c++ edge-server.c++ edge-writer.c++ frame-codec.c++ health-server.c++ log.c++
  paced-stream.c++ process-figures.c++ sandbox.c++)
target_link_libraries(warden_frontend_edge PUBLIC
  warden_base warden_sandbox warden_schema_client CapnProto::kj-http spdlog::spdlog)

if(TARGET warden_frontend_core)
  add_executable(warden-frontend main.c++ metrics.c++)
  target_link_libraries(warden-frontend PRIVATE
    warden_frontend_edge warden_frontend_core warden_config CLI11::CLI11)
endif()

install(TARGETS warden-frontend RUNTIME DESTINATION ${CMAKE_INSTALL_LIBEXECDIR}/warden)
