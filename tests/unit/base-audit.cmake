warden_unit_test(base-audit-trail-test base-audit-trail-test.c++ base-audit-edits-test.c++ LIBS warden_audit)
warden_unit_test(client-audit-test client-audit-test.c++ LIBS warden_command)
warden_unit_test(privhelper-client-facts-test privhelper-client-facts-test.c++ LIBS warden_helper)
warden_unit_test(privhelper-audit-log-test privhelper-audit-log-test.c++ LIBS warden_helper)
