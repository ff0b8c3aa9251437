warden_unit_test(privhelper-id-map-test privhelper-id-map-test.c++ LIBS warden_helper)
warden_unit_test(privhelper-request-check-test privhelper-request-check-test.c++ LIBS warden_helper)
warden_unit_test(privhelper-sweeper-test privhelper-sweeper-test.c++ LIBS warden_helper)
warden_unit_test(privhelper-startup-test privhelper-startup-test.c++ LIBS warden_helper)
warden_unit_test(privhelper-network-test privhelper-network-test.c++
                 privhelper-network-life-test.c++ privhelper-network-harness.c++ LIBS warden_helper)
set_tests_properties(unit-privhelper-network-test PROPERTIES TIMEOUT 180)
