warden_unit_test(frontend-core-test
  frontend-admission-test.c++
  frontend-clients-test.c++
  frontend-disk-limits-test.c++
  frontend-end-test.c++
  frontend-etc-files-test.c++
  frontend-flow-test.c++
  frontend-limits-test.c++
  frontend-network-pool-test.c++
  frontend-network-request-test.c++
  frontend-network-test.c++
  frontend-oom-watch-test.c++
  frontend-output-test.c++
  frontend-pools-test.c++
  frontend-snapshot-test.c++
  frontend-statistics-test.c++
  frontend-test-peer.c++
  LIBS warden_frontend_core)
