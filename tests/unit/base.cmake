# Tests of base/, without its configuration reader.
warden_unit_test(base-fd-test base-fd-test.c++ LIBS warden_base)
warden_unit_test(base-packet-test base-packet-test.c++ LIBS warden_base warden_schema_wshd)
warden_unit_test(base-path-test base-path-test.c++ LIBS warden_base)
warden_unit_test(base-pidfd-test base-pidfd-test.c++ LIBS warden_base)
warden_unit_test(base-container-id-test base-container-id-test.c++ LIBS warden_base)
warden_unit_test(base-ipv4-test base-ipv4-test.c++ LIBS warden_base)
warden_unit_test(base-privilege-test base-privilege-test.c++ LIBS warden_sandbox)
warden_unit_test(base-seccomp-filter-test base-seccomp-filter-test.c++ LIBS warden_sandbox)
