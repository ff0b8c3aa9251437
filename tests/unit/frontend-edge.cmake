warden_unit_test(frontend-frame-codec-test frontend-frame-codec-test.c++ LIBS warden_frontend_edge)
warden_unit_test(frontend-edge-test frontend-edge-test.c++ LIBS warden_frontend_edge)
warden_unit_test(frontend-sandbox-test frontend-sandbox-test.c++ LIBS warden_frontend_edge)
