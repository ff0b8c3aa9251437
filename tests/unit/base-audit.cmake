warden_unit_test(base-audit-trail-test base-audit-trail-test.c++ LIBS warden_audit)
