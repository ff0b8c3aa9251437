warden_unit_test(privhelper-id-map-test privhelper-id-map-test.c++ LIBS warden_helper)
warden_unit_test(privhelper-request-check-test privhelper-request-check-test.c++ LIBS warden_helper)
warden_unit_test(privhelper-bind-target-test privhelper-bind-target-test.c++ LIBS warden_helper)
warden_unit_test(privhelper-porter-test privhelper-porter-test.c++ LIBS warden_helper)
warden_unit_test(privhelper-record-test privhelper-record-test.c++ LIBS warden_helper)
warden_unit_test(privhelper-peer-test privhelper-peer-test.c++ LIBS warden_helper)
warden_unit_test(privhelper-sweeper-test privhelper-sweeper-test.c++ LIBS warden_helper)
warden_unit_test(privhelper-health-listener-test privhelper-health-listener-test.c++ LIBS warden_helper)
warden_unit_test(privhelper-highest-id-test privhelper-highest-id-test.c++ LIBS warden_helper)
warden_unit_test(privhelper-startup-test privhelper-startup-test.c++ LIBS warden_helper)
warden_unit_test(privhelper-disk-test privhelper-disk-test.c++ LIBS warden_helper)
set_tests_properties(unit-privhelper-disk-test PROPERTIES TIMEOUT 300)
warden_unit_test(privhelper-cgroups-test privhelper-cgroups-test.c++ privhelper-cgroups-limits-test.c++
  LIBS warden_helper)
warden_unit_test(privhelper-network-test privhelper-network-test.c++
                 privhelper-network-life-test.c++ privhelper-network-harness.c++ LIBS warden_helper)
set_tests_properties(unit-privhelper-network-test PROPERTIES TIMEOUT 180)
warden_unit_test(privhelper-frontend-service-test privhelper-frontend-service-test.c++
                 LIBS warden_helper warden_frontend_core)
