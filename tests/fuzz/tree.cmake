# What unpacks trees, of which the bytes are somebody else's.
warden_fuzz_target(tree ${CMAKE_CURRENT_LIST_DIR}/tree.c++ LIBS warden_tree)
