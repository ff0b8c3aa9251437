warden_unit_test(base-access-test base-access-test.c++ LIBS warden_config warden_base)
warden_unit_test(base-config-test base-config-test.c++ base-config-profiles-test.c++
  base-config-refusal-test.c++ LIBS warden_config warden_base)
