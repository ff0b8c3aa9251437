warden_unit_test(frontend-core-test
  frontend-clients-test.c++
  frontend-end-test.c++
  frontend-etc-files-test.c++
  frontend-flow-test.c++
  frontend-output-test.c++
  frontend-pools-test.c++
  frontend-test-peer.c++
  LIBS warden_frontend_core)
